// What a chat asks of an engine: reading prompts, speaking, several replies, second turns, adapters; and how
// exact it is. The same for engines in the page and in Node.
import type { Match } from './match.ts';
import type { Piece } from './page/engine.ts';
import { perplexity } from './quality.ts';
import type { Texts } from './text.ts';

/** How much is done. */
export interface Sizes {
  /** Lengths of prompts and of what was read before speaking, in tokens. */
  readonly prompts: readonly number[];
  readonly pasts: readonly number[];
  readonly reads: number;
  readonly rounds: number;
  readonly spoken: number;
  readonly replyTokens: number;
  /** Tokens whose log-probs are compared. */
  readonly text: number;
  readonly loads: number;
}

export const FULL: Sizes = {
  prompts: [32, 256, 1024],
  pasts: [64, 512, 1536],
  reads: 5,
  rounds: 15,
  spoken: 4,
  replyTokens: 32,
  text: 256,
  loads: 3,
};

/** Shows that everything works, and nothing else. */
export const QUICK: Sizes = {
  prompts: [32],
  pasts: [64],
  reads: 1,
  rounds: 2,
  spoken: 2,
  replyTokens: 4,
  text: 16,
  loads: 1,
};

const TIME = ['time', 'ms'] as const;
const TURN_TOKENS = 32;

export async function chat(match: Match, texts: Texts, sizes: Sizes): Promise<void> {
  const { prompts, pasts, reads, rounds, spoken, replyTokens } = sizes;
  for (const count of prompts) {
    const workload = `time to first token, ${count} tokens`;
    const all = await match.inTurn(workload, reads, () => [
      { kind: 'read', tokens: texts.words(count) },
    ]);
    for (const [label, ms] of all) match.add(label, workload, TIME, ms);
  }
  for (const past of pasts) {
    const workload = `decode after ${past} tokens`;
    const read = texts.words(past);
    for (const one of match.playing) await match.ask(one, workload, { kind: 'read', tokens: read });
    const all = await match.inTurn(workload, rounds, () => [
      { kind: 'speak', count: spoken, goOn: true },
    ]);
    for (const [label, ms] of all) match.add(label, workload, ['time a token', 'ms'], ms);
    await secondTurn(match, texts, sizes, past);
  }
  const replies = (count: number) => () => [
    { kind: 'replies', tokens: texts.words(128), count: replyTokens, replies: count } as const,
  ];
  const [one, four] = ['one reply', 'four alternates'].map(
    (name) => `${name} of ${replyTokens} tokens to 128`,
  ) as [string, string];
  const ofOne = await match.inTurn(one, Math.min(3, reads), replies(1));
  const ofFour = await match.inTurn(four, Math.min(3, reads), replies(4));
  for (const [label, ms] of ofOne) match.add(label, one, TIME, ms);
  for (const [label, ms] of ofFour) {
    match.add(label, four, TIME, ms);
    const alone = ofOne.get(label)!;
    const times = ms.map((long, i) => long / alone[i]!);
    match.add(label, four, ['as long as one reply', 'times'], times);
  }
}

/** A turn more, with what was read before still there. */
async function secondTurn(match: Match, texts: Texts, { reads }: Sizes, past: number) {
  const workload = `second turn, ${TURN_TOKENS} tokens after ${past}`;
  const all = await match.inTurn(workload, Math.min(3, reads), () => [
    { kind: 'read', tokens: texts.words(TURN_TOKENS), goOn: true },
  ]);
  for (const [label, ms] of all) match.add(label, workload, ['time to first token', 'ms'], ms);
}

/** Speaking with and without an adapter on all linears, for engines that take one while they run. */
export async function adapters(
  match: Match,
  labels: readonly string[],
  texts: Texts,
  sizes: Sizes,
): Promise<void> {
  const past = texts.words(sizes.pasts[0]!);
  for (const one of match.playing.filter(({ label }) => labels.includes(label))) {
    const ms = { off: [] as number[], on: [] as number[] };
    for (let i = 0; i < sizes.reads; i++) {
      for (const state of ['off', 'on'] as const) {
        const workload = `decode, adapter ${state}`;
        await match.ask(one, workload, { kind: 'read', tokens: past, adapter: state === 'on' });
        const count = sizes.spoken * 3;
        ms[state].push(...(await match.ask(one, workload, { kind: 'speak', count, goOn: true })));
      }
    }
    match.add(one.label, 'decode, adapter off', ['time a token', 'ms'], ms.off);
    match.add(one.label, 'decode, adapter on all linears, rank 8', ['time a token', 'ms'], ms.on);
    await match.ask(one, 'adapter off', { kind: 'read', tokens: past, adapter: false });
  }
}

/** Many replies to one prompt, as training samples them. */
export async function rollouts(
  match: Match,
  labels: readonly string[],
  texts: Texts,
  { reads, replyTokens }: Sizes,
): Promise<void> {
  const playing = match.playing.filter(({ label }) => labels.includes(label));
  for (const replies of [1, 16]) {
    const workload = `rollouts, ${replies} side by side`;
    for (const one of playing) {
      const speeds: number[] = [];
      for (let i = 0; i < Math.min(3, reads); i++) {
        const tokens = texts.words(128);
        const asked = { kind: 'replies', tokens, count: replyTokens, replies } as const;
        const told = await match.try(one, workload, () => one.ask(asked));
        if (told?.speakingMs) speeds.push((1000 * replies * replyTokens) / told.speakingMs);
      }
      match.add(one.label, workload, ['speed', 'tokens/s'], speeds);
    }
  }
}

/** Perplexity of a text, and how far the log-probs are from the exact ones. */
export async function exactness(match: Match, text: Piece): Promise<void> {
  const workload = `a text of ${text.ids.length} tokens`;
  for (const one of match.playing) {
    const found = await match.try(one, workload, () => one.quality(text));
    if (!found) continue;
    const { kl, nll, agreement, partial } = found;
    const mean = (list: readonly number[]) => list.reduce((a, b) => a + b, 0) / list.length;
    if (!partial) match.add(one.label, workload, ['perplexity', ''], [perplexity(nll)]);
    const divergence = partial ? 'KL to fp32, mean, at least' : 'KL to fp32, mean';
    match.add(one.label, workload, [divergence, 'nats'], [mean(kl)]);
    match.add(one.label, workload, ['same likeliest token', ''], [mean(agreement)]);
  }
}
