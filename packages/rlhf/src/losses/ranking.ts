// Losses of the reward model as graph functions. InstructGPT (arXiv 2203.02155) eq. 1.
// They know rewards and pairs, not where rewards come from.
import { op } from '@rapport/core';
import type { Value } from '@rapport/core';

/** log σ(x) = −softplus(−x), stable for any x. */
const logSigmoid = (x: Value): Value => op.neg(op.softplus(op.neg(x)));

/** Pairs of rows: `better` and `worse` are int64 [P] row numbers, `weight` float [P]. */
export interface PairInputs {
  readonly better: Value;
  readonly worse: Value;
  /** 1/|P_prompt|/prompts makes the loss a mean over prompts of means over pairs; 0 is padding. */
  readonly weight: Value;
}

export interface RankingOptions {
  /** By how much the better reply must lead: −log σ(Δ − m). */
  readonly margin?: number;
  /** c of c·(r⁺ + r⁻)², which keeps scores near zero. */
  readonly centring?: number;
  /** ε: the share of judgements taken to be flipped. */
  readonly labelSmoothing?: number;
}

/**
 * K-way ranking loss: Σ weight · −log σ(r_better − r_worse − m).
 *
 * `rewards`: float [B], one per reply. Returns a scalar.
 */
export function rankingLoss(
  rewards: Value,
  pairs: PairInputs,
  options: RankingOptions = {},
): Value {
  const { margin = 0, centring = 0, labelSmoothing = 0 } = options;
  const better = op.gather(rewards, pairs.better);
  const worse = op.gather(rewards, pairs.worse);
  const lead = margin ? op.sub(op.sub(better, worse), margin) : op.sub(better, worse);
  let each = smoothed(lead, labelSmoothing);
  if (centring) {
    const sum = op.add(better, worse);
    each = op.add(each, op.mul(op.mul(sum, sum), centring));
  }
  return op.reduceSum(op.mul(each, pairs.weight), [0]);
}

/** −(1 − ε) log σ(x) − ε log σ(−x) */
export function smoothed(x: Value, epsilon: number): Value {
  const agreed = op.neg(logSigmoid(x));
  if (epsilon === 0) return agreed;
  return op.add(op.mul(agreed, 1 - epsilon), op.mul(op.neg(logSigmoid(op.neg(x))), epsilon));
}
