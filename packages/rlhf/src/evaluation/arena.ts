// Blind pairs between several policies: Bradley–Terry ratings with bootstrap intervals over prompts.
// Knows replies' scores only; who judged is the caller's business.
import { Random } from '@rapport/core';
import { meanOver, winsOf } from './win-rate.ts';
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
  const won = names.map((a) => names.map((b) => winsOf(contestants.get(a)!, contestants.get(b)!)));
  const rating = ratingsOf(won, prompts);
  const resampled = Array.from({ length: 500 }, () =>
    ratingsOf(
      won,
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
  return { ratings, winRate: meanOver(won[0]![1] ?? won[0]![0]!, random) };
}

/**
 * Bradley–Terry strengths by Zermelo's iteration (arXiv 2207.00076), half a win added to every pair.
 *
 * `won`: what contestant a won of b at each prompt. `prompts`: those that count, each as often as it is named.
 */
function ratingsOf(
  won: readonly (readonly (readonly number[])[])[],
  prompts: readonly number[],
): number[] {
  const wins = won.map((row, a) =>
    row.map((each, b) => (a === b ? 0 : prompts.reduce((sum, p) => sum + each[p]!, 0.5))),
  );
  let strength = won.map(() => 1);
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
