// Blind pairs between several policies: Bradley–Terry ratings with bootstrap intervals over prompts.
// Knows replies' scores only; who judged is the caller's business.
import { Random } from '@rapport/core';
import { winRate } from './win-rate.ts';
import type { Interval } from './win-rate.ts';

export interface Rating {
  readonly release: string;
  /** Elo scale: 400·log₁₀ of the odds, mean 1000. */
  readonly rating: number;
  readonly low: number;
  readonly high: number;
}

/** Scores of each contestant: per prompt, per reply; larger is better. */
export type Contestants = ReadonlyMap<string, readonly (readonly number[])[]>;

/** Ratings of all contestants, and the win rate of the first against the second. */
export function arena(
  contestants: Contestants,
  seed = 99,
): { ratings: Rating[]; winRate: Interval } {
  const names = [...contestants.keys()];
  const prompts = contestants.get(names[0]!)!.map((_, p) => p);
  const random = new Random(seed);
  const rating = ratingsOf(contestants, names, prompts);
  const resampled = Array.from({ length: 500 }, () =>
    ratingsOf(
      contestants,
      names,
      prompts.map(() => random.integer(prompts.length)),
    ),
  );
  const quantile = (i: number, q: number) =>
    resampled.map((r) => r[i]!).sort((a, b) => a - b)[Math.floor(q * resampled.length)]!;
  const ratings = names.map((release, i) => ({
    release,
    rating: rating[i]!,
    low: quantile(i, 0.025),
    high: quantile(i, 0.975),
  }));
  const [first, second] = names.map((name) => contestants.get(name)!);
  return { ratings, winRate: winRate(first!, second ?? first!, random) };
}

/** Bradley–Terry strengths by Zermelo's iteration (arXiv 2207.00076), half a win added to every pair. */
function ratingsOf(
  contestants: Contestants,
  names: readonly string[],
  prompts: readonly number[],
): number[] {
  const wins = names.map((a) =>
    names.map((b) =>
      a === b ? 0 : 0.5 + winsOf(contestants.get(a)!, contestants.get(b)!, prompts),
    ),
  );
  let strength = names.map(() => 1);
  for (let round = 0; round < 100; round++) {
    strength = strength.map((s, i) => {
      let [won, odds] = [0, 0];
      strength.forEach((other, j) => {
        if (i === j) return;
        won += wins[i]![j]!;
        odds += (wins[i]![j]! + wins[j]![i]!) / (s + other);
      });
      return odds === 0 ? s : won / odds;
    });
    const level = Math.exp(strength.reduce((sum, s) => sum + Math.log(s), 0) / strength.length);
    strength = strength.map((s) => s / level);
  }
  return strength.map((s) => 1000 + 400 * Math.log10(s));
}

/** Share of cross pairs won, summed over prompts; ties half. */
function winsOf(
  ours: readonly (readonly number[])[],
  theirs: readonly (readonly number[])[],
  prompts: readonly number[],
): number {
  let won = 0;
  for (const p of prompts) {
    const [mine, other] = [ours[p]!, theirs[p]!];
    for (const a of mine) {
      for (const b of other) won += (a > b ? 1 : a === b ? 0.5 : 0) / mine.length / other.length;
    }
  }
  return won;
}
