// The reward model: linear heads on the frozen base's hidden states, trained on rankings of K replies.
// InstructGPT (arXiv 2203.02155) §3.5: every pair of a ranking, one batch element per prompt; an ensemble as in
// arXiv 2310.02743. Left out: training the base itself; on small data a head on standardised means is as
// accurate and takes seconds (docs/log.md).
import { Random, RapportError } from '@rapport/core';
import { rewardReport } from '../evaluation/reward-report.ts';
import type { RewardReport } from '../evaluation/reward-report.ts';
import { pairsOf } from './rankings.ts';
import type { RowStates } from './policy.ts';
import { dot } from '../optim/lbfgs.ts';
import { fitHead } from './reward-head.ts';
import type { HeadOptions, RankedFeatures } from './reward-head.ts';

/** Which hidden states a reply's score is read from. */
export type Readout = 'mean' | 'last';

/** What a reply's score is read from, each as wide as the states of a token (`statesGraph`), final ones first. */
export interface ReplyFeatures extends Readonly<Record<Readout, Float64Array>> {
  readonly tokens: number;
}

/**
 * Head h scores a reply gain·Σ w_h·(feature − mean)/deviation + bias; the reward is the mean over heads.
 * Plain data: it is saved with the release.
 */
export interface RewardModel {
  readonly readout: Readout;
  readonly mean: Float32Array;
  readonly deviation: Float32Array;
  /** Weights of each head, [D]. */
  readonly heads: readonly Float32Array[];
  readonly bias: number;
  readonly gain: number;
  readonly l2: number;
  /** By cross-validation over prompts, with one head. */
  readonly heldOut: RewardReport;
}

/** The replies of one prompt as the reward model sees them. `ranks`: 1 is best, equal numbers are ties. */
export interface RankedReplies {
  readonly replies: readonly ReplyFeatures[];
  readonly ranks: readonly number[];
  /** Each reply is to another prompt, as with thumbs. */
  readonly acrossPrompts?: boolean | undefined;
  readonly annotator?: string | undefined;
  /** What tells prompts apart; a ranking without it counts as the only one of its prompt. */
  readonly prompt?: string;
}

/** What is known of the people who ranked, and how sure the model has to be of itself. */
export interface RewardOptions extends HeadOptions {
  /** Heads of the ensemble, each fitted to prompts drawn with replacement; 1 is a single head on all. */
  readonly heads?: number;
  readonly seed?: number;
}

const READOUTS: readonly Readout[] = ['mean', 'last'];
const PENALTIES = [0.1, 0.3, 1, 3, 10];
const FOLDS = 5;
const HEADS = 5;

/**
 * Trains on rankings; read-out and L2 penalty are those with the best cross-validated log loss. Where most rankings are across
 * prompts the mean is read: the last state tells best how a reply ends, which parts replies to different prompts and says
 * little of those to one (docs/log.md).
 *
 * `demonstrations`: replies whose scores average 0; without any, the ranked replies do.
 * The gain gives the ranked replies (the reference's samples) deviation 1.
 *
 * @throws RapportError `train/no-pairs` when no ranking prefers one reply to another.
 */
export function trainReward(
  rankings: readonly RankedReplies[],
  demonstrations: readonly ReplyFeatures[] = [],
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
  const across = usable.filter(({ acrossPrompts }) => acrossPrompts).length;
  const readouts: readonly Readout[] = 2 * across > usable.length ? ['mean'] : READOUTS;
  const candidates = readouts.flatMap((readout) => {
    const problem = standardise(usable, readout);
    return PENALTIES.map((l2) => ({
      readout,
      l2,
      problem,
      heldOut: crossValidate(usable, problem, l2, options),
    }));
  });
  const best = candidates.reduce((a, b) => (b.heldOut.logLoss < a.heldOut.logLoss ? b : a));
  const { problem, readout, l2, heldOut } = best;
  const { mean, deviation } = problem;
  const model = { readout, l2, heldOut, mean, deviation, heads: fitHeads(problem, l2, options) };
  const raw = (reply: ReplyFeatures) => rewardOf({ ...model, bias: 0, gain: 1 }, reply);
  const samples = usable.flatMap(({ replies }) => replies.map(raw));
  const level = average(demonstrations.length ? demonstrations.map(raw) : samples);
  const gain = 1 / Math.sqrt(deviationOf(samples) ** 2 + 1e-8);
  return { ...model, gain, bias: -gain * level };
}

type Heads = Pick<RewardModel, 'readout' | 'mean' | 'deviation' | 'heads' | 'bias' | 'gain'>;

/**
 * The normalised score of one reply: the mean over heads less `caution` times their deviation. Where replies
 * are unlike those that were ranked, heads differ, and a policy must not be paid for that.
 */
export function rewardOf(model: Heads, reply: ReplyFeatures, caution = 0): number {
  const scores = headScores(model, reply);
  return average(scores) - (caution ? caution * deviationOf(scores) : 0);
}

/** By how much the heads differ about a reply: the deviation of their scores. */
export const disagreement = (model: Heads, reply: ReplyFeatures): number =>
  deviationOf(headScores(model, reply));

function headScores(model: Heads, reply: ReplyFeatures): number[] {
  const { mean, deviation, gain, bias } = model;
  const read = reply[model.readout].subarray(0, mean.length);
  const x = read.map((value, i) => (value - mean[i]!) / deviation[i]!);
  return model.heads.map((w) => gain * dot(w, x) + bias);
}

/**
 * What each token of a reply brought to its score: the score of the states after it alone. Their mean is the score, where
 * it is read from the mean over tokens. Undefined where it is not, and of a model that is no better than a coin.
 */
export function tokenScores(
  reward: RewardModel,
  { hidden, tokens }: RowStates,
): Float64Array | undefined {
  if (!tellsTokens(reward)) return undefined;
  const { heads, mean, deviation, gain, bias } = reward;
  const weight = Float64Array.from(
    mean,
    (_, i) => (gain * average(heads.map((w) => w[i]!))) / deviation[i]!,
  );
  const level = bias - dot(weight, Float64Array.from(mean));
  const width = hidden.length / (tokens + 1);
  return Float64Array.from({ length: tokens }, (_, t) => {
    const from = (t + 1) * width;
    return level + dot(weight, Float64Array.from(hidden.subarray(from, from + mean.length)));
  });
}

/** Whether `tokenScores` says anything by this model. */
export const tellsTokens = ({ readout, heldOut }: RewardModel): boolean =>
  readout === 'mean' && heldOut.logLoss < Math.LN2;

/** What is kept of a reply's hidden states: their mean over its tokens, and the last one. */
export function featuresOf({ hidden, tokens }: RowStates): ReplyFeatures {
  const size = hidden.length / (tokens + 1);
  const mean = new Float64Array(size);
  for (let t = 1; t <= tokens; t++) {
    for (let i = 0; i < size; i++) mean[i] = mean[i]! + hidden[t * size + i]! / tokens;
  }
  return { mean, last: Float64Array.from(hidden.subarray(tokens * size)), tokens };
}

/** Standardised features of every prompt's replies, with what standardised them. */
interface Problem {
  readonly prompts: readonly RankedFeatures[];
  readonly mean: Float32Array;
  readonly deviation: Float32Array;
}

function standardise(rankings: readonly RankedReplies[], readout: Readout): Problem {
  const all = rankings.flatMap(({ replies }) => replies.map((reply) => reply[readout]));
  const size = all[0]!.length;
  const mean = new Float32Array(size);
  const deviation = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    const column = all.map((x) => x[i]!);
    mean[i] = average(column);
    deviation[i] = Math.sqrt(deviationOf(column) ** 2 + 1e-8);
  }
  const prompts = rankings.map(({ replies, ranks }) => ({
    features: replies.map((reply) =>
      reply[readout].map((value, i) => (value - mean[i]!) / deviation[i]!),
    ),
    pairs: pairsOf(ranks),
  }));
  return { prompts, mean, deviation };
}

/** One head on everything, or several on prompts drawn with replacement. */
function fitHeads({ prompts, mean }: Problem, l2: number, options: RewardOptions): Float32Array[] {
  const { heads = HEADS, seed = 0 } = options;
  const fit = (drawn: readonly RankedFeatures[]) => fitHead(drawn, mean.length, { ...options, l2 });
  if (heads === 1) return [fit(prompts)];
  const random = new Random(seed);
  return Array.from({ length: heads }, () =>
    fit(prompts.map(() => prompts[random.integer(prompts.length)]!)),
  );
}

function crossValidate(
  rankings: readonly RankedReplies[],
  { prompts, mean }: Problem,
  l2: number,
  options: RewardOptions,
): RewardReport {
  const places = placesOf(rankings);
  const folds = Math.min(FOLDS, new Set(places).size);
  const heads = Array.from({ length: folds }, (_, fold) => {
    const train = prompts.filter((_, p) => places[p]! % folds !== fold);
    return fitHead(train, mean.length, { ...options, l2 });
  });
  return rewardReport(
    rankings.map(({ replies, ranks, annotator }, p) => ({
      scores: prompts[p]!.features.map((x) => dot(heads[places[p]! % folds]!, x)),
      lengths: replies.map(({ tokens }) => tokens),
      ranks,
      annotator,
    })),
  );
}

/** The number of each ranking's prompt, in order of first appearance. */
function placesOf(rankings: readonly RankedReplies[]): number[] {
  const places = new Map<string | RankedReplies, number>();
  return rankings.map((ranking) => {
    const key = ranking.prompt ?? ranking;
    const place = places.get(key) ?? places.size;
    places.set(key, place);
    return place;
  });
}

const average = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length;

/** √ of the mean square off the mean. */
function deviationOf(x: readonly number[]): number {
  const centre = average(x);
  return Math.sqrt(average(x.map((value) => (value - centre) ** 2)));
}
