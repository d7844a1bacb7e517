// Rewards, advantages and the KL controller of PPO as plain functions in double precision.
// GAE: arXiv 1506.02438; adaptive KL: arXiv 1909.08593 §2.2; details: arXiv 2403.17031.

/**
 * The score a reply is paid: within ±scoreClip, and less by `missingEndPenalty` when the reply never ended. (Paying
 * a fixed −1 instead, as is usual, rewards not ending where the score is lower.)
 */
export function paidScore(
  score: number,
  ended: boolean,
  { scoreClip, missingEndPenalty }: { scoreClip: number; missingEndPenalty: number },
): number {
  const clipped = Math.max(-scoreClip, Math.min(scoreClip, score));
  return ended ? clipped : clipped - missingEndPenalty;
}

/**
 * Per-token reward r_t = −β·(log π_old − log π_ref), plus `score`: a number on the last token of the reply, or what is
 * paid on each (`paidByToken`).
 */
export function tokenRewards(
  logprobs: ArrayLike<number>,
  refLogprobs: ArrayLike<number>,
  score: number | readonly number[],
  klCoef: number,
): number[] {
  const rewards = Array.from(logprobs, (lp, t) => -klCoef * (lp - refLogprobs[t]!));
  if (typeof score !== 'number') return rewards.map((reward, t) => reward + score[t]!);
  if (rewards.length > 0) rewards[rewards.length - 1]! += score;
  return rewards;
}

/**
 * A score of n tokens as it was earned: (score − atEnd + s_t − mean s)/n on each, and `atEnd` on the last. Sums to `score`, so that
 * the return is the same and what a token earned no longer depends on what was said before it.
 *
 * `tokenScores` s: what each token brought; their mean is the score before it is clipped and centred.
 */
export function paidByToken(score: number, tokenScores: Float64Array, atEnd: number): number[] {
  const n = tokenScores.length;
  const mean = tokenScores.reduce((a, b) => a + b, 0) / n;
  const paid = Array.from(tokenScores, (s) => (score - atEnd + s - mean) / n);
  paid[n - 1]! += atEnd;
  return paid;
}

/**
 * Generalised advantage estimation over one reply:
 * δ_t = r_t + γV_{t+1} − V_t, A_t = δ_t + γλA_{t+1}, V after the end is 0; returns are A + V.
 */
export function gae(
  rewards: readonly number[],
  values: ArrayLike<number>,
  gamma: number,
  lam: number,
): { advantages: number[]; returns: number[] } {
  const advantages = new Array<number>(rewards.length).fill(0);
  let next = 0;
  for (let t = rewards.length - 1; t >= 0; t--) {
    const delta = rewards[t]! + gamma * (t + 1 < rewards.length ? values[t + 1]! : 0) - values[t]!;
    advantages[t] = next = delta + gamma * lam * next;
  }
  return { advantages, returns: advantages.map((a, t) => a + values[t]!) };
}

/** Mean and unbiased variance. */
export function moments(x: readonly number[]): { mean: number; variance: number } {
  const mean = x.reduce((a, b) => a + b, 0) / x.length;
  const squares = x.reduce((a, b) => a + (b - mean) ** 2, 0);
  return { mean, variance: squares / Math.max(1, x.length - 1) };
}

/** (x − mean)/√(var + 1e-8) over all tokens of all replies. */
export function whiten(replies: readonly (readonly number[])[]): number[][] {
  const { mean, variance } = moments(replies.flat());
  const scale = 1 / Math.sqrt(variance + 1e-8);
  return replies.map((reply) => reply.map((a) => (a - mean) * scale));
}

/** RLOO: each score minus the mean of the prompt's other scores (arXiv 2402.14740). */
export function leaveOneOut(scores: readonly number[]): number[] {
  const total = scores.reduce((a, b) => a + b, 0);
  return scores.map((s) => (scores.length > 1 ? s - (total - s) / (scores.length - 1) : s));
}

/** GRPO: scores of a prompt's replies, centred and divided by their deviation (arXiv 2402.03300). */
export function groupAdvantage(scores: readonly number[]): number[] {
  const { mean, variance } = moments(scores);
  return scores.map((s) => (s - mean) / (Math.sqrt(variance) + 1e-4));
}

/** β ← β·(1 + clip(KL/target − 1, ±0.2)·n/horizon) */
export function adaptKlCoef(
  klCoef: number,
  kl: number,
  { target, horizon, replies }: { target: number; horizon: number; replies: number },
): number {
  const error = Math.max(-0.2, Math.min(0.2, kl / target - 1));
  return klCoef * (1 + (error * replies) / horizon);
}

/** What a minibatch says about the distance of two policies: k1, k2, k3 (http://joschu.net/blog/kl-approx.html). */
export function klEstimates(logprobs: ArrayLike<number>, refLogprobs: ArrayLike<number>) {
  let [k1, k2, k3] = [0, 0, 0];
  for (let t = 0; t < logprobs.length; t++) {
    const delta = logprobs[t]! - refLogprobs[t]!;
    k1 += delta;
    k2 += delta ** 2 / 2;
    k3 += Math.exp(-delta) - 1 + delta;
  }
  return { k1, k2, k3 };
}

/**
 * How far a minibatch's policy and V are from those that spoke, over its tokens: shares of ρ and of V beyond their clips,
 * the approximate KL ½·mean(log ρ)², and max |ρ − 1|.
 */
export function updateReport(
  now: { readonly logprobs: ArrayLike<number>; readonly values: ArrayLike<number> },
  old: { readonly logprobs: readonly number[]; readonly values: readonly number[] },
  { clipRange, valueClip }: { readonly clipRange: number; readonly valueClip: number },
) {
  const logratios = old.logprobs.map((logprob, t) => now.logprobs[t]! - logprob);
  const off = logratios.map((x) => Math.abs(Math.exp(x) - 1));
  const beyond = (x: readonly number[], limit: number) =>
    x.filter((d) => d > limit).length / x.length;
  const moved = old.values.map((value, t) => Math.abs(now.values[t]! - value));
  return {
    clipFraction: beyond(off, clipRange),
    valueClipFraction: beyond(moved, valueClip),
    updateKl: logratios.reduce((sum, x) => sum + x * x, 0) / (2 * logratios.length),
    ratioError: Math.max(...off),
  };
}

/** 1 − Var(returns − values)/Var(returns) */
export function explainedVariance(values: readonly number[], returns: readonly number[]): number {
  const total = moments(returns).variance;
  const left = moments(returns.map((r, i) => r - values[i]!)).variance;
  return total === 0 ? 0 : 1 - left / total;
}
