// From an order to pairwise judgements. It knows nothing of texts or models.

/**
 * Every pair that a ranking decides: `[better, worse]` as indices into `ranks`, where a smaller rank
 * is better. Ties decide nothing.
 */
export function rankingPairs(ranks: readonly number[]): [chosen: number, rejected: number][] {
  return ranks.flatMap((rank, chosen) =>
    ranks.flatMap((other, rejected): [number, number][] =>
      rank < other ? [[chosen, rejected]] : [],
    ),
  );
}
