// How good a reward model is on rankings it has not learned from. It knows scores and ranks only.
import { Random } from '@rapport/core';
import { pairsOf } from '../train/rankings.ts';
import { bootstrapRatio } from './win-rate.ts';

/** Replies to one prompt as the reward model and a person see them. */
export interface JudgedRanking {
  /** In log-odds: σ(a − b) is the model's probability that a is better. */
  readonly scores: readonly number[];
  /** The person's: 1 is best, equal numbers are ties. */
  readonly ranks: readonly number[];
  /** Tokens of each reply. */
  readonly lengths: readonly number[];
  readonly annotator?: string | undefined;
}

/** Share of pairs in the person's order, equal scores one half; 95 % bootstrap over prompts. */
export interface PairAccuracy {
  readonly accuracy: number;
  readonly low: number;
  readonly high: number;
  readonly pairs: number;
}

export interface RewardReport extends PairAccuracy {
  /** Mean −log σ(r_better − r_worse), in nats; ln 2 is what a coin gets. */
  readonly logLoss: number;
  /** Mean over prompts of Kendall's τ-b between scores and ranks. */
  readonly kendallTau: number;
  /** Expected calibration error of the stated probabilities, 10 bins. */
  readonly calibrationError: number;
  /** Those bins that hold a pair; reports of earlier versions have none. */
  readonly reliability?: readonly ReliabilityBin[];
  /** Accuracy of "the longer reply is better" on the same pairs. */
  readonly lengthBaseline: number;
  /** On pairs whose lengths differ by at most a tenth: what is left when length tells nothing. */
  readonly lengthMatched: PairAccuracy;
  readonly annotators: readonly ({ readonly annotator: string } & PairAccuracy)[];
}

/** Pairs for which the model states about the same probability. */
export interface ReliabilityBin {
  /** Mean stated probability that the reply it prefers is the better one. */
  readonly confidence: number;
  /** Share of pairs for which that is so. */
  readonly accuracy: number;
  readonly pairs: number;
}

/** One pair as it counts: by how much the better reply leads, in score and in length. */
interface Outcome {
  readonly lead: number;
  readonly longer: number;
  readonly matched: boolean;
}

const BINS = 10;
const MATCHED = 0.1;

/** Measures scores against what people said. Rankings without a decided pair count nowhere. */
export function rewardReport(judged: readonly JudgedRanking[]): RewardReport {
  const decided = judged.filter(({ ranks }) => pairsOf(ranks).length > 0);
  const outcomes = decided.map(outcomesOf);
  const all = outcomes.flat();
  const bins = reliabilityOf(all.map(({ lead }) => lead));
  const names = [...new Set(decided.flatMap(({ annotator }) => annotator ?? []))].sort();
  return {
    ...accuracyOf(outcomes),
    logLoss: average(all.map(({ lead }) => softplus(-lead))),
    kendallTau: average(decided.map(({ scores, ranks }) => kendallTau(scores, ranks))),
    calibrationError: calibrationError(bins),
    reliability: bins,
    lengthBaseline: average(all.map(({ longer }) => won(longer))),
    lengthMatched: accuracyOf(outcomes.map((list) => list.filter(({ matched }) => matched))),
    annotators: names.map((annotator) => ({
      annotator,
      ...accuracyOf(outcomes.filter((_, p) => decided[p]!.annotator === annotator)),
    })),
  };
}

function outcomesOf({ scores, ranks, lengths }: JudgedRanking): Outcome[] {
  return pairsOf(ranks).map(({ better, worse }) => {
    const [a, b] = [lengths[better]!, lengths[worse]!];
    return {
      lead: scores[better]! - scores[worse]!,
      longer: a - b,
      matched: Math.abs(a - b) <= MATCHED * Math.max(a, b),
    };
  });
}

function accuracyOf(outcomes: readonly (readonly Outcome[])[]): PairAccuracy {
  const prompts = outcomes
    .filter((list) => list.length > 0)
    .map((list) => ({
      sum: list.reduce((n, { lead }) => n + won(lead), 0),
      count: list.length,
    }));
  const pairs = prompts.reduce((n, { count }) => n + count, 0);
  if (pairs === 0) return { accuracy: 0.5, low: 0, high: 1, pairs };
  const accuracy = prompts.reduce((n, { sum }) => n + sum, 0) / pairs;
  return { accuracy, ...bootstrapRatio(prompts, new Random(99)), pairs };
}

/**
 * τ-b: (concordant − discordant)/√(pairs not tied in scores · pairs not tied in ranks); 0 where either ties
 * everything.
 */
export function kendallTau(scores: readonly number[], ranks: readonly number[]): number {
  let [balance, byScore, byRank] = [0, 0, 0];
  for (let i = 0; i < ranks.length; i++) {
    for (let j = 0; j < i; j++) {
      const [s, r] = [Math.sign(scores[i]! - scores[j]!), Math.sign(ranks[j]! - ranks[i]!)];
      balance += s * r;
      byScore += s * s;
      byRank += r * r;
    }
  }
  return byScore && byRank ? balance / Math.sqrt(byScore * byRank) : 0;
}

/** The confidences σ(|lead|) that the model states for the replies it prefers, in 10 bins of equal width. */
export function reliabilityOf(leads: readonly number[]): ReliabilityBin[] {
  const bins = Array.from({ length: BINS }, () => ({ confidence: 0, right: 0, pairs: 0 }));
  for (const lead of leads) {
    const confidence = 1 / (1 + Math.exp(-Math.abs(lead)));
    const bin = bins[Math.min(BINS - 1, Math.floor(2 * BINS * (confidence - 0.5)))]!;
    bin.confidence += confidence;
    bin.right += won(lead);
    bin.pairs += 1;
  }
  return bins
    .filter(({ pairs }) => pairs > 0)
    .map(({ confidence, right, pairs }) => ({
      confidence: confidence / pairs,
      accuracy: right / pairs,
      pairs,
    }));
}

/** Σ over bins of share · |accuracy − mean confidence| (arXiv 1706.04599 eq. 3). */
export function calibrationError(bins: readonly ReliabilityBin[]): number {
  const gaps = bins.map(
    ({ confidence, accuracy, pairs }) => pairs * Math.abs(accuracy - confidence),
  );
  const pairs = bins.reduce((sum, bin) => sum + bin.pairs, 0);
  return gaps.reduce((sum, gap) => sum + gap, 0) / Math.max(1, pairs);
}

const won = (lead: number): number => (lead > 0 ? 1 : lead === 0 ? 0.5 : 0);
/** log(1 + eˣ), stable for any x. */
const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const average = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length;
