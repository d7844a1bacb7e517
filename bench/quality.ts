// How far the log-probs of one engine are from those of another.

export interface Quality {
  /** KL(exact‖engine) in nats, after each token. */
  kl: number[];
  /** −log p of each token but the first, in nats. */
  nll: number[];
  /** For each place, 1 where both find the same token likeliest. */
  agreement: number[];
  /** The engine gave some log-probs only: `kl` is a lower bound, and `nll` has what is known. */
  partial: boolean;
}

/**
 * `exact` and `other`: log-probs [T, V] after each token of `text`, flat; NaN in `other` where the engine does not
 * say. Tokens it does not name count as one outcome, so that the divergence found is at most the true one. Places
 * where it names none are left out.
 */
export function compare(
  exact: Float32Array,
  other: Float32Array,
  text: readonly number[],
): Quality {
  const vocab = exact.length / text.length;
  const found: Quality = { kl: [], nll: [], agreement: [], partial: false };
  text.forEach((_, t) => {
    const p = exact.subarray(t * vocab, (t + 1) * vocab);
    const q = other.subarray(t * vocab, (t + 1) * vocab);
    const unnamed = q.reduce((count, y) => count + Number(Number.isNaN(y)), 0);
    if (unnamed === vocab) return;
    if (unnamed > 0) found.partial = true;
    found.kl.push(divergence(p, q, unnamed > 0));
    found.agreement.push(argMax(p) === argMax(q) ? 1 : 0);
    const next = text[t + 1];
    if (next !== undefined && !Number.isNaN(q[next]!)) found.nll.push(-q[next]!);
  });
  return found;
}

/** Σ p·log(p/q), what q does not name as one outcome. */
function divergence(p: Float32Array, q: Float32Array, partial: boolean): number {
  let sum = 0;
  let [pRest, qRest] = [1, 1];
  p.forEach((x, id) => {
    const y = q[id]!;
    if (Number.isNaN(y)) return;
    sum += Math.exp(x) * (x - y);
    pRest -= Math.exp(x);
    qRest -= Math.exp(y);
  });
  const rest = partial && pRest > 0 && qRest > 0 ? pRest * Math.log(pRest / qRest) : 0;
  return sum + rest;
}

/** exp of the mean negative log-likelihood. */
export const perplexity = (nll: readonly number[]): number =>
  Math.exp(nll.reduce((a, b) => a + b, 0) / nll.length);

function argMax(row: Float32Array): number {
  let best = -1;
  row.forEach((x, i) => {
    // NaN is larger than nothing.
    if (best < 0 ? !Number.isNaN(x) : x > row[best]!) best = i;
  });
  return best;
}
