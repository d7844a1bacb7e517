// Who is preferred: win rates over prompts with paired bootstrap intervals.
import type { Random } from '@rapport/core';

/** A share with its 95 % interval. */
export interface Interval {
  readonly winRate: number;
  readonly low: number;
  readonly high: number;
}

/**
 * Mean over prompts of the share of cross pairs that `ours` wins, ties half; the interval resamples prompts,
 * because replies of one prompt belong together.
 */
export function winRate(
  ours: readonly (readonly number[])[],
  theirs: readonly (readonly number[])[],
  random: Random,
  resamples = 2000,
): Interval {
  const perPrompt = ours.map((mine, p) => {
    const outcomes = mine.flatMap((a) => theirs[p]!.map((b) => (a > b ? 1 : a === b ? 0.5 : 0)));
    return average(outcomes);
  });
  const items = perPrompt.map((sum) => ({ sum, count: 1 }));
  return { winRate: average(perPrompt), ...bootstrapRatio(items, random, resamples) };
}

/** The 2.5 and 97.5 % quantiles of Σ sum/Σ count over resampled items, which may hold unequally much. */
export function bootstrapRatio(
  items: readonly { readonly sum: number; readonly count: number }[],
  random: Random,
  resamples = 2000,
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
    low: means[Math.floor(resamples * 0.025)]!,
    high: means[Math.floor(resamples * 0.975)]!,
  };
}

const average = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length;
