// Who is preferred: win rates over prompts with paired bootstrap intervals.
import type { Random } from '@rapport/core';

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
