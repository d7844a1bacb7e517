// How far the log-probs of one engine are from those of another.

export interface Quality {
  /** KL(exact‖engine) in nats, after each token. */
  kl: number[];
  /** −log p of each token but the first, in nats. */
  nll: number[];
  /** For each place, 1 where both find the same token likeliest. */
  agreement: number[];
}

/**
 * `exact` and `other`: log-probs [T, V] after each token of `text`, flat. Rows of `other` that begin with NaN
 * are left out.
 */
export function compare(
  exact: Float32Array,
  other: Float32Array,
  text: readonly number[],
): Quality {
  const vocab = exact.length / text.length;
  const kl: number[] = [];
  const nll: number[] = [];
  const agreement: number[] = [];
  text.forEach((_, t) => {
    const p = exact.subarray(t * vocab, (t + 1) * vocab);
    const q = other.subarray(t * vocab, (t + 1) * vocab);
    if (Number.isNaN(q[0]!)) return;
    kl.push(p.reduce((sum, x, id) => sum + Math.exp(x) * (x - q[id]!), 0));
    agreement.push(argMax(p) === argMax(q) ? 1 : 0);
    const next = text[t + 1];
    if (next !== undefined) nll.push(-q[next]!);
  });
  return { kl, nll, agreement };
}

/** exp of the mean negative log-likelihood. */
export const perplexity = (nll: readonly number[]): number =>
  Math.exp(nll.reduce((a, b) => a + b, 0) / nll.length);

function argMax(row: Float32Array): number {
  let best = 0;
  for (let i = 1; i < row.length; i++) if (row[i]! > row[best]!) best = i;
  return best;
}
