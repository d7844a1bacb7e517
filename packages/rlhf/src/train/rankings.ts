// Rankings of K replies to one prompt, as tokens, and the pairs they hold.

/** Replies of one prompt in the order somebody gave them; `ranks`: 1 is best, equal numbers are ties. */
export interface Ranking {
  readonly prompt: readonly number[];
  /** With the end-of-turn token where the reply ended by itself. */
  readonly replies: readonly (readonly number[])[];
  readonly ranks: readonly number[];
}

/** Numbers of two replies of a ranking. */
export interface Pair {
  readonly better: number;
  readonly worse: number;
}

/** All ordered pairs of a ranking; ties give none. */
export function pairsOf(ranks: readonly number[]): Pair[] {
  return ranks.flatMap((a, better) =>
    ranks.flatMap((b, worse) => (a < b ? [{ better, worse }] : [])),
  );
}
