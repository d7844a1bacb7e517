// One run of personal training, from judgements to an adapter: reads the replies once, learns from them,
// compares before and after. Where it runs and where it keeps things is passed in.
import {
  foldAdapter,
  type Adapter,
  type Checkpoint,
  type Judgement,
  type Runtime,
  type Tokenizer,
} from '@rapport/core';
import {
  cutTo,
  documentRow,
  dpoDefaults,
  featuresOf,
  fitted,
  ktoDefaults,
  logprobOf,
  nll,
  nllGrowth,
  NLL_LIMIT,
  Policy,
  ppoDefaults,
  rankingsOf,
  rankOf,
  scaleWithin,
  shortened,
  shrinkAdapter,
  Speaker,
  thumbGroups,
  tokenScores,
  thumbsOf,
  trainDpo,
  trainKto,
  trainPpo,
  trainReward,
  withFairEnds,
  withoutCommonEnds,
  type CourseState,
  type PpoState,
  type PreparedRanking,
  type Ranking,
  type RewardModel,
  type Row,
  type RowScore,
  type Thumb,
  type Trained,
  type TrunkRow,
} from '@rapport/rlhf';
import { compare, type Measured } from './compare.ts';
import { course, TEXT_MEASURED } from './course.ts';
import { ordinaryText } from './ordinary-text.ts';
import { roomFor } from './plan.ts';
import type { Comparison, TrainingMethod, TrainingNews, TrainingStage } from './training.ts';

/** A reload costs at most the steps since the last save. */
const SAVE_EVERY_STEPS = 2;
/** Rows read between two pieces of news. */
const ROWS_AT_ONCE = 8;

export interface Lesson {
  method: TrainingMethod;
  lessons: readonly Judgement[];
  heldOut: readonly Judgement[];
  seed: number;
  /** Padded tokens of one run of a graph. */
  budgetTokens: number;
  /** What layers may keep for the backward pass; unlimited by default. */
  activationBytes?: number;
}

export interface Classroom {
  checkpoint: Checkpoint;
  tokenizer: Tokenizer;
  runtime: Runtime;
  /** What speaks now; the new adapter is learned on top of it. */
  release: Adapter | null;
  /** Milliseconds of work done: time spent waiting for the chat left out. */
  worked: () => number;
  /** What an earlier attempt at the same lesson left, and where this one leaves it. */
  shelf: Shelf;
}

/** `read`: the rows; `course` of learning from them, and what it `learned`; `rounds` of practice. */
type Kept = 'read' | 'course' | 'learned' | 'rounds';

/** Keeps plain data of one run. */
export interface Shelf {
  load<T>(name: Kept): Promise<T | undefined>;
  save(name: Kept, value: unknown): Promise<void>;
}

/** Rows with their trunk output, and log π_ref of each token of the replies. */
interface ReadRows {
  rows: readonly TrunkRow[];
  refLogprobs: readonly Float32Array[];
  /** Of what is ranked, where there is any: a reward model, and what it finds in each token of the replies. */
  reward?: RewardModel;
  scores?: readonly Float64Array[];
}

/** What DPO or KTO came to, after so many steps. */
interface Learned extends Trained {
  readonly steps: number;
}

const PRACTICE = { ...ppoDefaults, ...course.ppo };

export interface Taught extends Trained {
  comparison: Comparison;
  tokensTrained: number;
}

/** Yields progress, returns the adapter. Throws `train/*`, and an AbortError soon after `signal`. */
export async function* teach(
  { method, lessons, heldOut, seed, budgetTokens, activationBytes = Infinity }: Lesson,
  { checkpoint, tokenizer, runtime, release, worked, shelf }: Classroom,
  signal: AbortSignal,
): AsyncGenerator<TrainingNews, Taught> {
  const base = release ? foldAdapter(checkpoint, release) : checkpoint;
  const { endOfTurn } = tokenizer;
  const policy = new Policy(base, runtime, { budgetTokens, activationBytes, endOfTurn });
  const room = roomFor(budgetTokens);
  const cut = cutTo(room);
  const short = (all: readonly Judgement[]) => all.map((one) => shortened(one, room, tokenizer));
  const reader = new Reader(policy, signal);
  try {
    const rankings =
      method === 'kto'
        ? []
        : withFairEnds(
            rankingsOf(short(lessons), tokenizer).flatMap((ranking) => fitted(ranking, room)),
            endOfTurn,
          );
    const thumbs =
      method === 'kto' ? thumbsOf(short(lessons).flatMap(asVotes), tokenizer).map(cut) : [];
    const groups = thumbGroups(withoutCommonEnds(thumbs, endOfTurn));
    const votes = groups.length > 0 ? groups.flat() : thumbs;
    const measured = measuredOf(method, short(heldOut), tokenizer);
    const text = textRows(method, tokenizer);
    const rows = [...votes, ...rankings.flatMap(rowsOf), ...measured.rows, ...text].map(cut);
    const ranked = method === 'kto' ? groups.map(asRanked) : rankings;
    const earlier = await shelf.load<ReadRows>('read');
    // Earlier versions read other rows, or kept less of them.
    const isSame = earlier?.refLogprobs?.length === rows.length;
    const kept = isSame ? earlier : yield* reader.all(rows, ranked, shelf);
    const { rows: read, refLogprobs, scores } = kept;
    const refSums = refLogprobs.map((logprobs) => logprobOf({ logprobs }));
    const reward = method === 'ppo' ? kept.reward : undefined;

    const judged = read.slice(0, rows.length - measured.rows.length - text.length);
    const mixed = read.slice(rows.length - text.length, rows.length - TEXT_MEASURED);
    const learned = await shelf.load<Learned>('learned');
    const keeping = {
      resume: await shelf.load<CourseState>('course'),
      save: (state: CourseState) => shelf.save('course', state),
      everySteps: SAVE_EVERY_STEPS,
    };
    const steps = () =>
      method === 'kto'
        ? trainKto(
            policy,
            votes.map(({ good }, i) => ({ ...judged[i]!, good })),
            mixed,
            { ...ktoDefaults, ...course.kto, seed },
            signal,
            keeping,
            kept.reward,
          )
        : trainDpo(
            policy,
            regroup(rankings, judged, refLogprobs, scores),
            mixed,
            { ...dpoDefaults, ...course.dpo, seed },
            signal,
            keeping,
          );
    const first = learned ?? (yield* learn(steps(), worked, reward ? PRACTICE.iterations : 0));
    await policy.dispose();
    let trained: Trained = first;
    if (reward) await shelf.save('learned', first);
    if (reward && !first.stopped) {
      const speaker = await Speaker.create(base, runtime, {
        endOfTurn,
        fromLayer: policy.place.fromLayer,
      });
      try {
        const rounds = trainPpo(
          {
            policy,
            speaker,
            reward,
            start: first.adapter,
            prompts: rankings.map(({ prompt }) => prompt),
            text: mixed,
            now: worked,
            signal,
          },
          { ...PRACTICE, seed },
          {
            resume: await shelf.load<PpoState>('rounds'),
            save: (state) => shelf.save('rounds', state),
          },
        );
        trained = yield* practise(rounds, worked, first.steps);
      } finally {
        await speaker.dispose();
      }
      await policy.dispose();
    }
    const { adapter: whole, stopped } = trained;

    const apart = <T>(all: readonly T[]): T[] => [
      ...all.slice(judged.length, judged.length + measured.rows.length),
      ...all.slice(-TEXT_MEASURED),
    ];
    const answers = read.slice(-TEXT_MEASURED);
    const before = nll(refSums.slice(-TEXT_MEASURED));
    const costOf = nllGrowth(policy, whole, { text: answers, before }, signal);
    yield { kind: 'stage', stage: 'comparing', done: 0, of: apart(read).length };
    const { scale } = await scaleWithin(NLL_LIMIT, costOf);
    const adapter = shrinkAdapter(whole, scale);
    const compared = compare(measured, {
      lengths: apart(read).map(({ reply }) => reply.length),
      before: apart(refSums),
      after: (yield* reader.score(apart(read), adapter)).map(logprobOf),
    });
    const comparison = { ...compared, scale };
    const { tokensTrained } = policy;
    return { adapter, comparison, tokensTrained, ...(stopped && { stopped }) };
  } finally {
    await policy.dispose();
  }
}

/** Steps of DPO or KTO as news; `after`: rounds that follow. */
async function* learn(
  course: ReturnType<typeof trainDpo> | ReturnType<typeof trainKto>,
  worked: () => number,
  after: number,
): AsyncGenerator<TrainingNews, Learned> {
  let startedMs = worked();
  let steps = 0;
  for (;;) {
    const next = await course.next();
    if (next.done) return { ...next.value, steps };
    const { step, of, loss, margin, kl } = next.value;
    steps = of;
    const workMs = worked() - startedMs;
    const numbers = { loss, margin, score: null, kl, workMs };
    yield { kind: 'step', stage: 'learning', step: { step, of: of + after, ...numbers } };
    startedMs = worked();
  }
}

/** Rounds of PPO as news; `before`: steps that were done. */
async function* practise(
  rounds: ReturnType<typeof trainPpo>,
  worked: () => number,
  before: number,
): AsyncGenerator<TrainingNews, Trained> {
  yield { kind: 'stage', stage: 'practising', done: 0, of: PRACTICE.iterations };
  let startedMs = worked();
  for (;;) {
    const next = await rounds.next();
    if (next.done) return next.value;
    const { step, of, score, klToken: kl } = next.value;
    const numbers = { loss: null, margin: null, score, kl, workMs: worked() - startedMs };
    yield {
      kind: 'step',
      stage: 'practising',
      step: { step: before + step, of: before + of, ...numbers },
    };
    startedMs = worked();
  }
}

/** Reads and scores rows in small parts, each of which is news. */
class Reader {
  readonly #policy: Policy;
  readonly #signal: AbortSignal;

  constructor(policy: Policy, signal: AbortSignal) {
    this.#policy = policy;
    this.#signal = signal;
  }

  /**
   * Reads and scores, and makes a reward model of the first rows if it is given how they rank. Sessions hold a
   * copy of the weights each, so one is dropped before the next.
   */
  async *all(
    rows: readonly Row[],
    ranked: readonly Ranked[],
    shelf: Shelf,
  ): AsyncGenerator<TrainingNews, ReadRows> {
    const read = yield* this.read(rows);
    await this.#policy.dispose();
    const scores = yield* this.score(read, null);
    await this.#policy.dispose();
    const compared = featuresIn(ranked, scores);
    // Without any, what learns from them says so.
    const reward =
      ranked.length > 0
        ? trainReward(compared, scores.slice(-TEXT_MEASURED).map(featuresOf))
        : undefined;
    const replies = compared.reduce((n, one) => n + one.replies.length, 0);
    const done: ReadRows = {
      rows: read,
      refLogprobs: scores.map(({ logprobs }) => logprobs),
      ...(reward && { reward, scores: tokenScoresIn(scores, reward, replies) }),
    };
    await shelf.save('read', done);
    return done;
  }

  /** The lower half of the model over every row: half of the reading. */
  read(rows: readonly Row[]): AsyncGenerator<TrainingNews, TrunkRow[]> {
    const at = { stage: 'reading', before: 0, of: 2 * rows.length } as const;
    return inParts(rows, at, (part) => this.#policy.withTrunk(part, this.#signal));
  }

  score(
    rows: readonly TrunkRow[],
    adapter: Adapter | null,
  ): AsyncGenerator<TrainingNews, RowScore[]> {
    const at = adapter
      ? ({ stage: 'comparing', before: 0, of: rows.length } as const)
      : ({ stage: 'reading', before: rows.length, of: 2 * rows.length } as const);
    return inParts(rows, at, (part) => this.#policy.score(part, adapter, { signal: this.#signal }));
  }
}

async function* inParts<T, R>(
  items: readonly T[],
  { stage, before, of }: { stage: TrainingStage; before: number; of: number },
  act: (part: readonly T[]) => Promise<R[]>,
): AsyncGenerator<TrainingNews, R[]> {
  const all: R[] = [];
  while (all.length < items.length) {
    yield { kind: 'stage', stage, done: before + all.length, of };
    all.push(...(await act(items.slice(all.length, all.length + ROWS_AT_ONCE))));
  }
  return all;
}

/** For thumbs a decided ranking is two votes: its best reply is good, its worst is bad. */
function asVotes({ type, body }: Judgement): Judgement[] {
  if (type !== 'ranking') return [{ type, body } as Judgement];
  const [best, worst] = [Math.min(...body.ranks), Math.max(...body.ranks)];
  if (best === worst) return [];
  return body.replies.flatMap((reply, i) => {
    const rank = body.ranks[i];
    if (rank !== best && rank !== worst) return [];
    return [{ type: 'vote', body: { prompt: body.prompt, reply, value: rank === best ? 1 : -1 } }];
  });
}

/** Replies in the order they are read, and how they rank. */
type Ranked = Pick<Ranking, 'replies' | 'ranks'> & { readonly acrossPrompts?: true };

const asRanked = (group: readonly Thumb[]): Ranked => ({
  replies: group.map(({ reply }) => reply),
  ranks: group.map(rankOf),
  acrossPrompts: true,
});

/** Rankings with what the reward model reads; `scores` begins with theirs. */
function featuresIn(rankings: readonly Ranked[], scores: readonly RowScore[]) {
  let at = 0;
  return rankings.map(({ replies, ranks, acrossPrompts }) => ({
    replies: scores.slice(at, (at += replies.length)).map(featuresOf),
    ranks,
    acrossPrompts,
  }));
}

/** What the reward model finds in the tokens of the first `count` rows; nothing where it cannot tell them apart. */
const tokenScoresIn = (scores: readonly RowScore[], reward: RewardModel, count: number) =>
  scores
    .slice(0, count)
    .map((score) => tokenScores(reward, score))
    .filter((one) => one !== undefined);

const rowsOf = ({ prompt, replies }: Ranking): Row[] => replies.map((reply) => ({ prompt, reply }));

function regroup(
  rankings: readonly Ranking[],
  rows: readonly TrunkRow[],
  refLogprobs: readonly Float32Array[],
  scores: readonly Float64Array[] = [],
): PreparedRanking[] {
  let at = 0;
  return rankings.map(({ replies, ranks, ends }) => {
    const [start, end] = [at, (at += replies.length)];
    return {
      rows: rows.slice(start, end),
      refLogprobs: refLogprobs.slice(start, end),
      scores: scores.slice(start, end),
      ranks,
      ends,
    };
  });
}

/** What was kept apart, as rows and the pairs they make. */
function measuredOf(
  method: TrainingMethod,
  heldOut: readonly Judgement[],
  tokenizer: Tokenizer,
): Measured & { rows: Row[] } {
  if (method === 'kto') {
    const rows = thumbsOf(heldOut.flatMap(asVotes), tokenizer);
    return { rows, pairs: crossed(rows) };
  }
  const rows: Row[] = [];
  const pairs: Measured['pairs'][number][] = [];
  for (const ranking of rankingsOf(heldOut, tokenizer)) {
    const start = rows.push(...rowsOf(ranking)) - ranking.replies.length;
    ranking.ranks.forEach((a, i) =>
      ranking.ranks.forEach((b, j) => {
        if (a < b) pairs.push({ better: start + i, worse: start + j });
      }),
    );
  }
  return { rows, pairs };
}

const crossed = (thumbs: readonly Thumb[]): Measured['pairs'] =>
  thumbs.flatMap(({ good }, better) =>
    good ? thumbs.flatMap((other, worse) => (other.good ? [] : [{ better, worse }])) : [],
  );

/** Documents to mix in, where the method does; then the answers to measure, TEXT_MEASURED of them. */
function textRows(method: TrainingMethod, tokenizer: Tokenizer): Row[] {
  const documents = method === 'ppo' ? ordinaryText.slice(0, -TEXT_MEASURED) : [];
  const answers = ordinaryText.slice(-TEXT_MEASURED).map(({ ask, answer }) => ({
    prompt: tokenizer.encodeChat([{ role: 'user', content: ask }], { addGenerationPrompt: true }),
    reply: [...tokenizer.encode(answer), tokenizer.endOfTurn],
  }));
  const mixed = documents.flatMap(({ answer }) => documentRow(tokenizer.encode(answer)) ?? []);
  return [...mixed, ...answers];
}
