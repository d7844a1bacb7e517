// KTO (arXiv 2402.01306) on thumbs: a reply is good or bad by itself, no pairs. The reference point z is the
// mean log-ratio of mismatched prompts and replies; the rarer thumb weighs more. Left out: estimating z per class.
import { float32, op, Random, RapportError } from '@rapport/core';
import { crossEntropy } from '../losses/policy.ts';
import { implicitRewards, ktoLoss, referencePoint, thumbWeights } from '../losses/preference.ts';
import type { Parameters } from '../optim/adamw.ts';
import { newAdapter } from './adapter.ts';
import type { LoraConfig } from './adapter.ts';
import { Course, stepsOver } from './course.ts';
import type { CourseLength, Keeping } from './course.ts';
import { tokensSpoken } from './guards.ts';
import type { Limits, Stop, Trained } from './guards.ts';
import { logprobOf } from './policy.ts';
import type { Policy } from './policy.ts';
import { plainReading, readingFeeds, readingOf } from './readings.ts';
import type { Reading } from './readings.ts';
import { tokenScores } from './reward.ts';
import type { RewardModel } from './reward.ts';
import { batchesOf } from './rows.ts';
import type { Row, TrunkRow } from './rows.ts';
import { endStep, mixText } from './step.ts';

/** A reply and which thumb it got. */
export interface Thumb extends Row {
  readonly good: boolean;
}

/** Thumbs that are compared with each other. */
const COMPARED = 8;

/** Thumbs in groups of about eight with both kinds in each, to be compared as rankings are; none where there is one kind. */
export function thumbGroups<T extends { readonly good: boolean }>(thumbs: readonly T[]): T[][] {
  const up = thumbs.filter(({ good }) => good);
  const down = thumbs.filter(({ good }) => !good);
  const groups = Math.min(Math.ceil(thumbs.length / COMPARED), up.length, down.length);
  const ordered = [...up, ...down];
  return Array.from({ length: groups }, (_, g) => ordered.filter((_, i) => i % groups === g));
}

/** A thumb as a rank among others. */
export const rankOf = ({ good }: { readonly good: boolean }): number => (good ? 1 : 2);

export interface KtoConfig extends LoraConfig, Limits, CourseLength {
  readonly beta: number;
  /**
   * A reply's log-ratio is the mean over its tokens, times the mean length of all; else the sum, by which a long bad reply
   * outweighs a short good one.
   */
  readonly lengthNormalised: boolean;
  readonly lrPeak: number;
  readonly batch: number;
  /** Mismatched prompts and replies that the reference point of a step is estimated from. */
  readonly mismatched: number;
  /** κ of `tokenWeights`, as for DPO. */
  readonly focus: number;
  readonly warmupSteps: number;
  readonly ptxBalance: number;
  readonly ptxRows: number;
  readonly seed: number;
}

export const ktoDefaults: KtoConfig = {
  beta: 0.1,
  lengthNormalised: true,
  lrPeak: 1e-3,
  epochs: 1,
  minSteps: 28,
  maxSteps: Infinity,
  batch: 8,
  mismatched: 4,
  focus: 0.7,
  warmupSteps: 3,
  ptxBalance: 0,
  ptxRows: 4,
  klStop: 3,
  lengthStop: 0.1,
  rank: 8,
  alpha: 16,
  seed: 0,
};

export interface KtoRecord {
  readonly stage: 'kto';
  readonly step: number;
  readonly of: number;
  readonly loss: number;
  /** Mean β·ℓ of the batch's good replies less that of its bad ones; null where it has but one kind. */
  readonly margin: number | null;
  /** The reference point of this batch. */
  readonly z: number;
  /** Mean log π_ref − log π per token of the judged replies: KL(π_ref‖π) where the reference spoke them. */
  readonly kl: number;
  /** Share of the judged replies that the policy would speak before it ended them; NaN where their end is not known. */
  readonly spoken: number;
  readonly gradientNorm: number;
  readonly ptxRatio: number;
  readonly lr: number;
  readonly stopped?: Stop;
}

interface Task {
  readonly good: boolean;
  readonly row: TrunkRow;
  /** log π_ref of each token. */
  readonly refLogprobs: Float32Array;
  /** What each token brought, where a reward model tells them apart. */
  readonly scores: Float64Array | undefined;
}

/** A prompt with another prompt's reply: how much the policy has gained on such says how far it has moved. */
interface Mismatched {
  readonly row: TrunkRow;
  readonly refSum: number;
}

/** Steps take turns at this many sets of mismatched rows: more would only take longer to read. */
const MISMATCHED_SETS = 4;

/**
 * Trains an adapter from zero, or from where `keeping` says; yields a record per step, returns the adapter. One more pass
 * over a batch only measures the last adapter; it has a record where that adapter must not be used.
 *
 * `reward`: tells the tokens of a reply apart for `focus`.
 *
 * @throws RapportError `train/few-thumbs`.
 */
export async function* trainKto(
  policy: Policy,
  thumbs: readonly Thumb[],
  text: readonly TrunkRow[],
  config: KtoConfig = ktoDefaults,
  signal?: AbortSignal,
  keeping: Keeping = {},
  reward?: RewardModel,
): AsyncGenerator<KtoRecord, Trained> {
  const up = thumbs.filter(({ good }) => good).length;
  if (up === 0 || up === thumbs.length) {
    throw new RapportError(
      'train/few-thumbs',
      `${up} of ${thumbs.length} thumbs are up; both kinds are needed.`,
      'Collect good and bad votes.',
    );
  }
  // Partners are by the seed alone, so that they are the same after a resume.
  const shuffled = new Random(config.seed).shuffle(thumbs);
  const { tasks, mismatched } = await prepare(policy, shuffled, {
    count: MISMATCHED_SETS * config.mismatched,
    reward,
    signal,
  });
  const weights = thumbWeights(up, thumbs.length - up);
  const meanLength = thumbs.reduce((n, { reply }) => n + reply.length, 0) / thumbs.length;
  const weightOf = ({ reply }: Row) => (config.lengthNormalised ? meanLength / reply.length : 1);
  const course = new Course(keeping, config.seed, (random) =>
    newAdapter(policy.sites, config, random),
  );
  const { random, adapter } = course;
  const trainer = await policy.trainer(config.rank, (p) => {
    const row = (name: string) => p.input(name, 'float32', ['B']);
    const z = p.input('z', 'float32', []);
    const logratios = p.logratios();
    const votes = ktoLoss(
      logratios,
      { sign: row('sign'), weight: row('voteWeight'), z },
      config.beta,
    );
    const nll = crossEntropy(p.logprobs, p.input('textWeight', 'float32', ['N']));
    return { loss: op.add(votes, nll), results: { votes, logratios } };
  });
  const feedsOf = (batch: readonly Task[], z: number, total: number) => {
    const count = batch.reduce((n, { row }) => n + row.reply.length, 0);
    return {
      ...readingFeeds(
        batch.map(({ row }) => row),
        batch.map((task, i) => readingFor(task, i, weightOf(task.row), config)),
      ),
      sign: float32(
        [batch.length],
        batch.map(({ good }) => (good ? 1 : -1)),
      ),
      voteWeight: float32(
        [batch.length],
        batch.map(({ good }) => (good ? weights.up : weights.down) / total),
      ),
      z: float32([], [z]),
      textWeight: float32([count], new Float32Array(count)),
    };
  };
  const of = stepsOver(tasks.length, config.batch, config);
  try {
    for (let step = course.step; step <= of; step++) {
      signal?.throwIfAborted();
      const batch = course.draw(tasks, config.batch, 1);
      const others = Array.from(
        { length: Math.min(config.mismatched, mismatched.length) },
        (_, i) => mismatched[(step * config.mismatched + i) % mismatched.length]!,
      );
      const rows = others.map(({ row }) => row);
      const now = await policy.scoresAs(rows, adapter, logprobOf, { signal });
      const z = referencePoint(others.map((one, i) => (now[i]! - one.refSum) * weightOf(one.row)));
      const gradients: Parameters = new Map();
      let [loss, drift, spoken] = [0, 0, 0];
      const rewards = { up: [] as number[], down: [] as number[] };
      for (const part of batchesOf(batch, ({ row }) => row, policy.budgetTokens)) {
        const rows = part.map(({ row }) => row);
        const out = await trainer.run(rows, adapter, feedsOf(part, z, batch.length), gradients);
        loss += Number(out['votes']!.data[0]);
        const logratios = out['logratios']!.data as Float32Array;
        drift += part.reduce((sum, { refLogprobs }) => sum + sumOf(refLogprobs), 0);
        drift -= sumOf(out['logprobs']!.data as Float32Array);
        implicitRewards(logratios, config.beta).forEach((reward, i) =>
          rewards[part[i]!.good ? 'up' : 'down'].push(reward),
        );
        spoken += tokensSpoken(out['ends'], rows);
      }
      const { ptxRatio } = await mixText(gradients, config, text, {
        trainer,
        adapter,
        random,
        idle: (rows) => ({
          ...readingFeeds(
            rows,
            rows.map((row, i) => plainReading(row, i, 0)),
          ),
          sign: float32([rows.length], new Float32Array(rows.length)),
          voteWeight: float32([rows.length], new Float32Array(rows.length)),
          z: float32([], [0]),
        }),
      });
      const tokens = batch.reduce((n, { row }) => n + row.reply.length, 0);
      const seen = { drift, spoken, tokens, loss };
      const ended = endStep(course, gradients, { step, of }, seen, config);
      const { stopped } = ended;
      if (step === of && !stopped) break;
      yield {
        stage: 'kto',
        step: Math.min(step + 1, of),
        of,
        loss,
        margin: marginOf(rewards),
        z,
        ptxRatio,
        ...ended,
      };
      if (stopped) return { adapter: course.good, stopped };
      await course.keep(step + 1);
    }
    return { adapter };
  } finally {
    await trainer.dispose();
  }
}

function marginOf({ up, down }: { up: readonly number[]; down: readonly number[] }): number | null {
  if (up.length === 0 || down.length === 0) return null;
  const mean = (x: readonly number[]) => x.reduce((a, b) => a + b, 0) / x.length;
  return mean(up) - mean(down);
}

/** A good reply is read for what speaks for it, a bad one for what speaks against it. */
const readingFor = (
  { refLogprobs, scores, good }: Task,
  place: number,
  weight: number,
  { focus }: KtoConfig,
): Reading => readingOf(place, { refLogprobs, scores, kappa: good ? focus : -focus, weight });

const sumOf = (logprobs: Float32Array): number => logprobOf({ logprobs });

/** What the reference says of each thumb, and of `count` mismatched prompts and replies, with their trunk outputs. */
async function prepare(
  policy: Policy,
  thumbs: readonly Thumb[],
  {
    count,
    reward,
    signal,
  }: { count: number; reward: RewardModel | undefined; signal: AbortSignal | undefined },
): Promise<{ tasks: Task[]; mismatched: Mismatched[] }> {
  const crossed = thumbs
    .slice(0, count)
    .map(({ prompt }, i): Row => ({ prompt, reply: thumbs[(i + 1) % thumbs.length]!.reply }));
  const rows = await policy.withTrunk(thumbs, signal);
  const others = await policy.withTrunk(crossed, signal);
  const said = await policy.scoresAs(
    rows,
    null,
    (score) => ({ refLogprobs: score.logprobs, scores: reward && tokenScores(reward, score) }),
    { signal },
  );
  const refSums = await policy.scoresAs(others, null, logprobOf, { signal });
  return {
    tasks: rows.map((row, i) => ({ good: thumbs[i]!.good, row, ...said[i]! })),
    mismatched: others.map((row, i) => ({ row, refSum: refSums[i]! })),
  };
}
