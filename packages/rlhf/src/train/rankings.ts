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

/**
 * A ranking in which a reply was cut at its limit says nothing of where replies should end: with the end-of-turn token
 * left to the others, whatever is preferred to them would be paid for not ending (docs/log.md). Their ends go.
 */
export function withoutUnequalEnds(ranking: Ranking, endOfTurn: number): Ranking {
  const ended = (reply: readonly number[]) => reply.at(-1) === endOfTurn;
  if (ranking.replies.every(ended)) return ranking;
  const replies = ranking.replies.map((reply) =>
    ended(reply) && reply.length > 1 ? reply.slice(0, -1) : reply,
  );
  return { ...ranking, replies };
}
