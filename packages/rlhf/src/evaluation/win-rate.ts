// Who is preferred: win rates over prompts with paired bootstrap intervals, and what is left of them at equal length.
import type { Random } from '@rapport/core';
import { minimise } from '../optim/lbfgs.ts';

/** L2 penalty of the regression on length. */
const SHRINKAGE = 1e-4;

/** A share with its interval. */
export interface Interval {
  readonly winRate: number;
  readonly low: number;
  readonly high: number;
}

/** What a reply that scores `a` wins of one that scores `b`: all, half for a tie, or nothing. */
const outright = (a: number, b: number): number => (a > b ? 1 : a === b ? 0.5 : 0);

/**
 * The probability that a reply is preferred by what Bradley and Terry say of its score: less of it is chance than of
 * who wins outright, so fewer replies tell as much.
 */
export const preference = (a: number, b: number): number => 1 / (1 + Math.exp(b - a));

/**
 * Mean over prompts of what `ours` wins of `theirs` in cross pairs; the interval resamples prompts, because replies of
 * one prompt belong together, and leaves out a share `tail` on either side.
 */
export function winRate(
  ours: readonly (readonly number[])[],
  theirs: readonly (readonly number[])[],
  random: Random,
  { win = outright, tail = 0.025 }: { win?: typeof outright; tail?: number } = {},
): Interval {
  return meanOver(winsOf(ours, theirs, win), random, tail);
}

/** What `ours` wins of `theirs` at each prompt, in cross pairs. */
export const winsOf = (
  ours: readonly (readonly number[])[],
  theirs: readonly (readonly number[])[],
  win = outright,
): number[] =>
  ours.map((mine, p) => average(mine.flatMap((a) => theirs[p]!.map((b) => win(a, b)))));

/** The mean of what was won at each prompt, with its interval. */
export function meanOver(wins: readonly number[], random: Random, tail = 0.025): Interval {
  const items = wins.map((sum) => ({ sum, count: 1 }));
  return { winRate: average(wins), ...bootstrapRatio(items, random, { tail }) };
}

/** One reply against another: what it won, and by how many tokens (or words) it was longer. */
export interface Comparison {
  readonly won: number;
  readonly longer: number;
}

/**
 * The win rate at equal length (arXiv 2404.04475): what was won is explained by σ(θ + φ·tanh(Δ/s)), Δ the difference in
 * length, and read at Δ = 0. `scale`: s, by default the root mean square of Δ.
 */
export function rateAtEqualLength(
  comparisons: readonly Comparison[],
  scale = scaleOf(comparisons),
): number {
  const points = comparisons.map(({ won, longer }) => ({ won, x: Math.tanh(longer / scale) }));
  const loss = ([theta, phi]: Float64Array) => {
    // A little weight on both keeps them finite where all is won.
    let value = SHRINKAGE * (theta! ** 2 + phi! ** 2);
    const gradient = Float64Array.of(2 * SHRINKAGE * theta!, 2 * SHRINKAGE * phi!);
    for (const { won, x } of points) {
      const z = theta! + phi! * x;
      value += (Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z))) - won * z) / points.length;
      const pull = (1 / (1 + Math.exp(-z)) - won) / points.length;
      gradient[0]! += pull;
      gradient[1]! += pull * x;
    }
    return { value, gradient };
  };
  return 1 / (1 + Math.exp(-minimise(loss, new Float64Array(2))[0]!));
}

const scaleOf = (comparisons: readonly Comparison[]): number =>
  Math.sqrt(average(comparisons.map(({ longer }) => longer ** 2))) || 1;

/** `rateAtEqualLength` of the comparisons of each prompt; the interval resamples prompts. */
export function lengthControlled(
  comparisons: readonly (readonly Comparison[])[],
  random: Random,
  resamples = 500,
): Interval {
  const scale = scaleOf(comparisons.flat());
  const rateOf = (prompts: readonly (readonly Comparison[])[]) =>
    rateAtEqualLength(prompts.flat(), scale);
  const drawn = Array.from({ length: resamples }, () =>
    rateOf(comparisons.map(() => comparisons[random.integer(comparisons.length)]!)),
  ).sort((a, b) => a - b);
  return {
    winRate: rateOf(comparisons),
    low: drawn[Math.floor(resamples * 0.025)]!,
    high: drawn[Math.floor(resamples * 0.975)]!,
  };
}

/** Cross pairs of the replies to each prompt, each with its score and length. */
export const comparisonsOf = <R>(
  ours: readonly (readonly R[])[],
  theirs: readonly (readonly R[])[],
  {
    score,
    length,
    win = outright,
  }: {
    score: (reply: R) => number;
    length: (reply: R) => number;
    win?: typeof outright;
  },
): Comparison[][] =>
  ours.map((mine, p) =>
    mine.flatMap((a) =>
      theirs[p]!.map((b) => ({ won: win(score(a), score(b)), longer: length(a) - length(b) })),
    ),
  );

/** Quantiles of Σ sum/Σ count over resampled items, which may hold unequally much; `tail` is left out on each side. */
export function bootstrapRatio(
  items: readonly { readonly sum: number; readonly count: number }[],
  random: Random,
  { resamples = 2000, tail = 0.025 }: { resamples?: number; tail?: number } = {},
): { low: number; high: number } {
  const means = Array.from({ length: resamples }, () => {
    let [total, count] = [0, 0];
    for (let i = 0; i < items.length; i++) {
      const item = items[random.integer(items.length)]!;
      total += item.sum;
      count += item.count;
    }
    return total / count;
  }).sort((a, b) => a - b);
  return {
    low: means[Math.floor(resamples * tail)]!,
    high: means[Math.floor(resamples * (1 - tail))]!,
  };
}

const average = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length;
