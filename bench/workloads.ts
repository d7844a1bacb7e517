// What a chat asks of an engine: reading prompts, speaking, several replies, second turns, adapters, guesses; and how
// exact it is. The same for engines in the page and in Node.
import { PROMPTS, type LookupKind } from './lookup-prompts.ts';
import type { Contestant, Match } from './match.ts';
import type { Piece } from './page/engine.ts';
import { perplexity } from './quality.ts';
import { median } from './rows.ts';
import type { Texts } from './text.ts';

/** How much is done. */
export interface Sizes {
  /** Lengths of prompts and of what was read before speaking, in tokens. */
  readonly prompts: readonly number[];
  readonly pasts: readonly number[];
  readonly reads: number;
  /** Of what takes seconds. */
  readonly longReads: number;
  readonly rounds: number;
  readonly spoken: number;
  readonly replyTokens: number;
  /** Of replies with and without guesses, at most. */
  readonly guessedTokens: number;
  /** Tokens whose log-probs are compared. */
  readonly text: number;
  readonly loads: number;
  /** Prompts of the longest length that leave no room in the cache. */
  readonly fillings: number;
}

export const FULL: Sizes = {
  prompts: [32, 256, 1024],
  pasts: [64, 512, 1536],
  reads: 5,
  longReads: 3,
  rounds: 8,
  // Fewer would be mostly an engine's first token after a pause, while others had their turn.
  spoken: 16,
  replyTokens: 32,
  guessedTokens: 96,
  text: 256,
  loads: 3,
  fillings: 4,
};

/** Shows that everything works, and nothing else. */
export const QUICK: Sizes = {
  prompts: [32],
  pasts: [64],
  reads: 1,
  longReads: 1,
  rounds: 2,
  spoken: 2,
  replyTokens: 4,
  guessedTokens: 8,
  text: 16,
  loads: 1,
  fillings: 2,
};

const TURN_TOKENS = 32;
const PROMPT_TOKENS = 128;
const LONG_TOKENS = 512;
/** Replies side by side, where training samples them. */
export const ROLLOUTS = 16;

/** Workloads by name. */
export const named = {
  read: (count: number) => `time to first token, ${count} tokens`,
  decode: (past: number) => `decode after ${past} tokens`,
  turn: (past: number) => `second turn, ${TURN_TOKENS} tokens after ${past}`,
  back: (past: number) => `back to a conversation of ${past} tokens from another`,
  replies: (replies: 'one reply' | 'four alternates', tokens: number) =>
    `${replies} of ${tokens} tokens to ${PROMPT_TOKENS}`,
  adapter: (on: boolean) => (on ? 'decode, adapter on all linears, rank 8' : 'decode, adapter off'),
  rollouts: (sideBySide: number) => `rollouts, ${sideBySide} side by side`,
  guesses: (kind: LookupKind) => `guesses by prompt lookup: ${kind}`,
  download: 'the default model',
  firstLoad: 'first load, from this machine’s server',
  laterLoad: 'later load, kept in the browser',
  memory: (tokens: number) => `memory beyond an empty page, ${tokens} tokens read`,
  fullMemory: (tokens: number) =>
    `memory beyond an empty page, ${tokens} tokens read in turn, then four alternates`,
  text: (tokens: number) => `a text of ${tokens} tokens`,
};

/** Metrics by name, with their units. */
export const METRICS = {
  time: ['time', 'ms'],
  aToken: ['time a token', 'ms'],
  firstToken: ['time to first token', 'ms'],
  speed: ['speed', 'tokens/s'],
  asLong: ['as long as one reply', 'times'],
  unguessed: ['speed without guesses', 'tokens/s'],
  guessed: ['speed with guesses', 'tokens/s'],
  faster: ['as fast as without guesses', 'times'],
  same: ['the same text with and without', ''],
  perplexity: ['perplexity', ''],
  kl: ['KL to fp32, mean', 'nats'],
  size: ['download', 'MB'],
  toFirstToken: ['to first token', 'ms'],
  peak: ['peak', 'MB'],
} as const;

type Words = Pick<Texts, 'words'>;

export async function chat(match: Match, texts: Words, sizes: Sizes): Promise<void> {
  const { prompts, pasts, reads, longReads, rounds, spoken, replyTokens } = sizes;
  for (const count of prompts) {
    const workload = named.read(count);
    const times = count > LONG_TOKENS ? longReads : reads;
    const all = await match.inTurn(workload, times, () => [
      { kind: 'read', tokens: texts.words(count) },
    ]);
    for (const [label, ms] of all) match.add(label, workload, METRICS.time, ms);
  }
  for (const past of pasts) {
    const workload = named.decode(past);
    const read = texts.words(past);
    for (const one of match.playing) await match.ask(one, workload, { kind: 'read', tokens: read });
    const all = await match.inTurn(workload, rounds, () => [
      { kind: 'speak', count: spoken, goOn: true },
    ]);
    for (const [label, ms] of all) match.add(label, workload, METRICS.aToken, ms);
    await secondTurn(match, texts, sizes, past);
  }
  const replies = (count: number) => () => [
    {
      kind: 'replies',
      tokens: texts.words(PROMPT_TOKENS),
      count: replyTokens,
      replies: count,
    } as const,
  ];
  const one = named.replies('one reply', replyTokens);
  const four = named.replies('four alternates', replyTokens);
  const ofOne = await match.inTurn(one, longReads, replies(1));
  const ofFour = await match.inTurn(four, longReads, replies(4));
  for (const [label, ms] of ofOne) match.add(label, one, METRICS.time, ms);
  for (const [label, ms] of ofFour) {
    match.add(label, four, METRICS.time, ms);
    const alone = ofOne.get(label)!;
    const times = ms.map((long, i) => long / alone[i]!);
    match.add(label, four, METRICS.asLong, times);
  }
}

/** A turn more, with what was read before still there. */
async function secondTurn(match: Match, texts: Words, { longReads }: Sizes, past: number) {
  const workload = named.turn(past);
  const all = await match.inTurn(workload, longReads, () => [
    { kind: 'read', tokens: texts.words(TURN_TOKENS), goOn: true },
  ]);
  for (const [label, ms] of all) match.add(label, workload, METRICS.firstToken, ms);
}

const among = (match: Match, labels: readonly string[]): Contestant[] =>
  match.playing.filter(({ label }) => labels.includes(label));

/** Speaking with and without an adapter on all linears, for engines that take one while they run. */
export async function adapters(
  match: Match,
  labels: readonly string[],
  texts: Words,
  sizes: Sizes,
): Promise<void> {
  const past = texts.words(sizes.pasts[0]!);
  for (const one of among(match, labels)) {
    const ms = new Map<boolean, number[]>([
      [false, []],
      [true, []],
    ]);
    for (let i = 0; i < sizes.reads; i++) {
      for (const [adapter, all] of ms) {
        const workload = named.adapter(adapter);
        await match.ask(one, workload, { kind: 'read', tokens: past, adapter });
        const count = sizes.spoken * 3;
        all.push(...(await match.ask(one, workload, { kind: 'speak', count, goOn: true })));
      }
    }
    for (const [adapter, all] of ms) {
      match.add(one.label, named.adapter(adapter), METRICS.aToken, all);
    }
    await match.ask(one, 'adapter off', { kind: 'read', tokens: past, adapter: false });
  }
}

/** Back to a conversation after another one, for engines that keep more than one. */
export async function branches(
  match: Match,
  labels: readonly string[],
  texts: Words,
  { pasts, longReads }: Sizes,
): Promise<void> {
  const past = pasts[1] ?? pasts[0]!;
  const workload = named.back(past);
  for (const one of among(match, labels)) {
    const all: number[] = [];
    for (let i = 0; i < longReads; i++) {
      const [old, other] = [texts.words(past), texts.words(past)];
      let ms: number[] = [];
      for (const tokens of [old, other, old]) {
        ms = await match.ask(one, workload, { kind: 'read', tokens });
      }
      all.push(...ms);
    }
    match.add(one.label, workload, METRICS.firstToken, all);
  }
}

/** Replies of the chat without and with guesses, in turn; a run of the ratio is a prompt. */
export async function guesses(
  match: Match,
  label: string,
  texts: Pick<Texts, 'prompt'>,
  { guessedTokens, longReads }: Sizes,
): Promise<void> {
  const one = match.playing.find((contestant) => contestant.label === label);
  if (!one) return;
  for (const kind of Object.keys(PROMPTS) as LookupKind[]) {
    const workload = named.guesses(kind);
    const reply = async (tokens: Piece, guesses: boolean) => {
      const ask = { kind: 'reply', tokens, count: guessedTokens, guesses } as const;
      return (await match.try(one, workload, () => one.ask(ask)))?.reply;
    };
    const all = { plain: [] as number[], guessed: [] as number[] };
    const [ratios, same]: [number[], number[]] = [[], []];
    for (const content of PROMPTS[kind]) {
      const tokens = texts.prompt(content);
      const [plain, guessed]: [number[], number[]] = [[], []];
      for (let i = 0; i < longReads; i++) {
        const off = await reply(tokens, false);
        const on = await reply(tokens, true);
        if (!off || !on) return;
        plain.push(off.tokensPerSecond);
        guessed.push(on.tokensPerSecond);
        same.push(Number(off.ids.join() === on.ids.join()));
      }
      all.plain.push(...plain);
      all.guessed.push(...guessed);
      ratios.push(median(guessed) / median(plain));
    }
    match.add(label, workload, METRICS.unguessed, all.plain);
    match.add(label, workload, METRICS.guessed, all.guessed);
    match.add(label, workload, METRICS.faster, ratios);
    match.add(label, workload, METRICS.same, same);
  }
}

/** Many replies to one prompt, as training samples them: `speed` gives tokens per second of so many side by side. */
export async function rollouts(
  match: Match,
  speeds: ReadonlyMap<string, (prompt: readonly number[], sideBySide: number) => Promise<number>>,
  texts: Words,
  { longReads }: Sizes,
): Promise<void> {
  for (const sideBySide of [1, ROLLOUTS]) {
    const workload = named.rollouts(sideBySide);
    const found = new Map<string, number[]>();
    for (let i = 0; i < longReads; i++) {
      const { ids } = texts.words(PROMPT_TOKENS);
      for (const [label, speed] of speeds) {
        const told = await match.try({ label }, workload, () => speed(ids, sideBySide));
        if (told !== undefined) found.set(label, [...(found.get(label) ?? []), told]);
      }
    }
    for (const [label, all] of found) match.add(label, workload, METRICS.speed, all);
  }
}

/** Perplexity of a text, and how far the log-probs are from the exact ones. */
export async function exactness(match: Match, text: Piece): Promise<void> {
  const workload = named.text(text.ids.length);
  for (const one of match.playing) {
    const found = await match.try(one, workload, () => one.quality(text));
    if (!found) continue;
    const { kl, nll, agreement, partial } = found;
    const mean = (list: readonly number[]) => list.reduce((a, b) => a + b, 0) / list.length;
    if (!partial) match.add(one.label, workload, METRICS.perplexity, [perplexity(nll)]);
    const divergence = partial ? (['KL to fp32, mean, at least', 'nats'] as const) : METRICS.kl;
    match.add(one.label, workload, divergence, [mean(kl)]);
    match.add(one.label, workload, ['same likeliest token', ''], [mean(agreement)]);
  }
}
