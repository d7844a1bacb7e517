// The reward model: a linear head on the frozen base's hidden states, trained on rankings of K replies.
// InstructGPT (arXiv 2203.02155) §3.5: every pair of a ranking, one batch element per prompt. Left out: training
// the base itself; on small data a head on standardised means is as accurate and takes seconds (docs/log.md).
import { RapportError } from '@rapport/core';
import { pairsOf } from './rankings.ts';
import type { Pair } from './rankings.ts';
import type { RowScore } from './policy.ts';

/** Which hidden states a reply's score is read from. */
export type Readout = 'mean' | 'last';

/** score(reply) = gain·(Σ weights·(feature − mean)/deviation) + bias. Plain data: it is saved with the release. */
export interface RewardModel {
  readonly readout: Readout;
  readonly mean: Float32Array;
  readonly deviation: Float32Array;
  readonly weights: Float32Array;
  readonly bias: number;
  readonly gain: number;
  readonly l2: number;
  /** Share of held-out pairs in the right order, by cross-validation over prompts. */
  readonly accuracy: number;
  /** Accuracy of "the longer reply is better" on the same pairs. */
  readonly lengthBaseline: number;
  readonly logLoss: number;
  readonly pairs: number;
}

/** The replies of one prompt as the reward model sees them. `ranks`: 1 is best, equal numbers are ties. */
export interface RankedScores {
  readonly replies: readonly RowScore[];
  readonly ranks: readonly number[];
}

/** What is known of the people who ranked. */
export interface RewardOptions {
  /** By how much the better reply must lead: −log σ(Δ − m). */
  readonly margin?: number;
  /** ε: the share of judgements taken to be flipped. */
  readonly labelSmoothing?: number;
}

const READOUTS: readonly Readout[] = ['mean', 'last'];
const PENALTIES = [0.03, 0.3, 1, 3];
const FOLDS = 5;
const FIT_STEPS = 200;

/**
 * Trains on rankings; read-out and L2 penalty are those with the best cross-validated log loss.
 *
 * `demonstrations`: replies whose scores average 0; without any, the ranked replies do.
 * The gain gives the ranked replies (the reference's samples) deviation 1.
 *
 * @throws RapportError `train/no-pairs` when no ranking prefers one reply to another.
 */
export function trainReward(
  rankings: readonly RankedScores[],
  demonstrations: readonly RowScore[] = [],
  options: RewardOptions = {},
): RewardModel {
  const usable = rankings.filter(({ ranks }) => pairsOf(ranks).length > 0);
  if (usable.length === 0) {
    throw new RapportError(
      'train/no-pairs',
      `None of the ${rankings.length} rankings prefers one reply to another.`,
      'Collect rankings in which at least one reply is better than another.',
    );
  }
  const candidates = READOUTS.flatMap((readout) => {
    const problem = standardise(usable, readout);
    return PENALTIES.map((l2) => ({
      readout,
      l2,
      problem,
      ...crossValidate(problem, l2, options),
    }));
  });
  const best = candidates.reduce((a, b) => (b.logLoss < a.logLoss ? b : a));
  const { problem, readout, l2, accuracy, logLoss } = best;
  const weights = fitHead(problem.prompts, l2, problem.size, FIT_STEPS, options);
  const model = { readout, l2, weights, mean: problem.mean, deviation: problem.deviation };
  const raw = (score: RowScore) => rewardOf({ ...model, bias: 0, gain: 1 }, score);
  const samples = usable.flatMap(({ replies }) => replies.map(raw));
  const level = average(demonstrations.length ? demonstrations.map(raw) : samples);
  const centre = average(samples);
  const gain = 1 / Math.sqrt(average(samples.map((s) => (s - centre) ** 2)) + 1e-8);
  return {
    ...model,
    gain,
    bias: -gain * level,
    accuracy,
    logLoss,
    lengthBaseline: lengthBaseline(usable),
    pairs: problem.prompts.reduce((n, p) => n + p.length, 0),
  };
}

/** The normalised score of one reply. */
export function rewardOf(
  model: Pick<RewardModel, 'readout' | 'mean' | 'deviation' | 'weights' | 'bias' | 'gain'>,
  score: RowScore,
): number {
  const x = featureOf(score, model.readout);
  let sum = 0;
  for (let i = 0; i < x.length; i++) {
    sum += (model.weights[i]! * (x[i]! - model.mean[i]!)) / model.deviation[i]!;
  }
  return model.gain * sum + model.bias;
}

/** Mean over the reply's hidden states, or the last one. */
function featureOf({ hidden, logprobs }: RowScore, readout: Readout): Float64Array {
  const tokens = logprobs.length;
  const size = hidden.length / (tokens + 1);
  const out = new Float64Array(size);
  const first = readout === 'mean' ? 1 : tokens;
  for (let t = first; t <= tokens; t++) {
    for (let i = 0; i < size; i++) out[i] = out[i]! + hidden[t * size + i]! / (tokens + 1 - first);
  }
  return out;
}

/** Differences x_better − x_worse of each prompt's pairs, in standardised features. */
interface Problem {
  readonly prompts: readonly (readonly Float64Array[])[];
  readonly mean: Float32Array;
  readonly deviation: Float32Array;
  readonly size: number;
}

function standardise(rankings: readonly RankedScores[], readout: Readout): Problem {
  const features = rankings.map(({ replies }) => replies.map((r) => featureOf(r, readout)));
  const all = features.flat();
  const size = all[0]!.length;
  const mean = new Float32Array(size);
  const deviation = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    mean[i] = average(all.map((x) => x[i]!));
    deviation[i] = Math.sqrt(average(all.map((x) => (x[i]! - mean[i]!) ** 2)) + 1e-8);
  }
  const difference = (xs: readonly Float64Array[], { better, worse }: Pair) =>
    xs[better]!.map((x, i) => (x - xs[worse]![i]!) / deviation[i]!);
  const prompts = rankings.map(({ ranks }, p) =>
    pairsOf(ranks).map((pair) => difference(features[p]!, pair)),
  );
  return { prompts, mean, deviation, size };
}

/**
 * Minimises l2/2·|w|² + mean over prompts of mean over pairs of −(1 − ε) log σ(x) − ε log σ(−x), x = w·d − m,
 * by Adam on full batches; the derivative by x is σ(x) − (1 − ε).
 */
export function fitHead(
  prompts: readonly (readonly Float64Array[])[],
  l2: number,
  size: number,
  steps: number,
  { margin = 0, labelSmoothing = 0 }: RewardOptions = {},
): Float32Array {
  const w = new Float64Array(size);
  const m = new Float64Array(size);
  const v = new Float64Array(size);
  for (let step = 1; step <= steps; step++) {
    const g = w.map((x) => l2 * x);
    for (const pairs of prompts) {
      for (const d of pairs) {
        const agreed = 1 / (1 + Math.exp(margin - dot(w, d)));
        const pull = (agreed - 1 + labelSmoothing) / pairs.length / prompts.length;
        for (let i = 0; i < size; i++) g[i] = g[i]! + pull * d[i]!;
      }
    }
    for (let i = 0; i < size; i++) {
      m[i] = 0.9 * m[i]! + 0.1 * g[i]!;
      v[i] = 0.999 * v[i]! + 0.001 * g[i]! ** 2;
      w[i] =
        w[i]! -
        (3e-3 * (m[i]! / (1 - 0.9 ** step))) / (Math.sqrt(v[i]! / (1 - 0.999 ** step)) + 1e-8);
    }
  }
  return Float32Array.from(w);
}

function crossValidate({ prompts, size }: Problem, l2: number, options: RewardOptions) {
  let [right, loss, count] = [0, 0, 0];
  const folds = Math.min(FOLDS, prompts.length);
  for (let fold = 0; fold < folds; fold++) {
    const train = prompts.filter((_, p) => p % folds !== fold);
    if (train.length === 0) continue;
    const w = fitHead(train, l2, size, FIT_STEPS / 2, options);
    for (const pairs of prompts.filter((_, p) => p % folds === fold)) {
      for (const d of pairs) {
        const lead = dot(w, d);
        right += Number(lead > 0);
        loss += Math.log1p(Math.exp(-lead));
        count++;
      }
    }
  }
  return count
    ? { accuracy: right / count, logLoss: loss / count }
    : { accuracy: 0.5, logLoss: Math.LN2 };
}

function lengthBaseline(rankings: readonly RankedScores[]): number {
  const outcomes = rankings.flatMap(({ replies, ranks }) =>
    pairsOf(ranks).map(({ better, worse }) => {
      const lead = replies[better]!.logprobs.length - replies[worse]!.logprobs.length;
      return lead > 0 ? 1 : lead === 0 ? 0.5 : 0;
    }),
  );
  return average(outcomes);
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

const average = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length;
