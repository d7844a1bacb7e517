// Which words of a reply a judgement is about: weights of its tokens by what a reward model finds in each, as
// TIS-DPO (arXiv 2410.04350) weighs them by an estimate of each token's worth. Left out: a contrast of two trained
// models as the estimate; a score that is a mean over tokens already says what each of them brought.

/** Differences from the reply's own level beyond this count as this. */
const FARTHEST = 3;

/**
 * Weights of a reply's tokens, 1 on average: ∝ exp(κ·(s_t − mean s)). κ > 0 looks at what speaks for the reply, κ < 0 at what
 * speaks against it, 0 at all alike. The last token counts like the average one: whether a reply ends is no word of it.
 *
 * `scores`: what each token brought, in deviations of whole replies (`tokenScores`).
 */
export function tokenWeights(scores: Float64Array, kappa: number): Float32Array {
  const level = average(scores);
  const weights = Float32Array.from(scores, (score) =>
    Math.exp(kappa * Math.max(-FARTHEST, Math.min(FARTHEST, score - level))),
  );
  const words = weights.subarray(0, -1);
  const mean = average(words);
  words.forEach((weight, t) => (words[t] = weight / mean));
  weights.fill(1, words.length);
  return weights;
}

const average = (x: Float32Array | Float64Array): number => {
  let sum = 0;
  for (const value of x) sum += value;
  return sum / x.length;
};
