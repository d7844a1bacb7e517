// Before and after on what was kept apart: does the model find likelier what the person preferred?
import type { Comparison } from './training.ts';

/** Pairs of rows by number; rows that no pair names are ordinary text. */
export interface Measured {
  readonly pairs: readonly { readonly better: number; readonly worse: number }[];
  readonly rows: readonly unknown[];
}

/**
 * `lengths`, `before` and `after` [rows + text]: tokens of each reply and Σ log π of it, the rows that
 * were judged first, then those of ordinary text.
 */
export function compare(
  { pairs, rows }: Measured,
  scores: { lengths: readonly number[]; before: readonly number[]; after: readonly number[] },
): Omit<Comparison, 'scale'> {
  const { lengths } = scores;
  const margins = (sums: readonly number[]) =>
    pairs.map(
      ({ better, worse }) => sums[better]! / lengths[better]! - sums[worse]! / lengths[worse]!,
    );
  const [before, after] = [margins(scores.before), margins(scores.after)];
  const nll = (sums: readonly number[]) => -total(sums.slice(rows.length));
  return {
    pairs: pairs.length,
    rightBefore: before.filter((margin) => margin > 0).length,
    rightAfter: after.filter((margin) => margin > 0).length,
    gained: after.filter((margin, i) => margin > before[i]!).length,
    marginBefore: mean(before),
    marginAfter: mean(after),
    nllChange: nll(scores.after) / nll(scores.before) - 1,
  };
}

export const total = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);
const mean = (numbers: readonly number[]) => total(numbers) / Math.max(1, numbers.length);
