// PPO's losses as graph functions (arXiv 1707.06347 eq. 7 and 9; InstructGPT eq. 2 for the mix).
// Per-token tensors are [B, S]: S reply positions, `mask` 1 on real reply tokens.
import { op } from '@rapport/core';
import type { Value } from '@rapport/core';

const sumAll = (x: Value): Value =>
  op.reduceSum(
    x,
    x.shape.map((_, i) => i),
  );

/** Σ weight·CE: negative log-likelihood of reply tokens. `weight` holds mask/Σmask over the whole batch. */
export const crossEntropy = (logprobs: Value, weight: Value): Value =>
  op.neg(sumAll(op.mul(logprobs, weight)));

/**
 * Clipped surrogate: Σ weight·max(−A·ρ, −A·clip(ρ, 1 ± ε)), ρ = exp(clamp(log π − log π_old, ±20)).
 *
 * `weight`: mask/Σmask over the whole minibatch, so that accumulated parts add to the mean.
 */
export function policyLoss(
  logprobs: Value,
  { oldLogprobs, advantages, weight }: { oldLogprobs: Value; advantages: Value; weight: Value },
  clipRange: number,
): Value {
  const ratio = op.exp(clamp(op.sub(logprobs, oldLogprobs), -20, 20));
  const pushed = op.neg(op.mul(advantages, ratio));
  const held = op.neg(op.mul(advantages, clamp(ratio, 1 - clipRange, 1 + clipRange)));
  return sumAll(op.mul(op.maximum(pushed, held), weight));
}

/** ½Σ weight·max((V − R)², (clip(V, V_old ± c) − R)²) */
export function valueLoss(
  values: Value,
  { oldValues, returns, weight }: { oldValues: Value; returns: Value; weight: Value },
  clipRange: number,
): Value {
  const near = op.add(oldValues, clamp(op.sub(values, oldValues), -clipRange, clipRange));
  const worst = op.maximum(square(op.sub(values, returns)), square(op.sub(near, returns)));
  return op.mul(sumAll(op.mul(worst, weight)), 0.5);
}

const square = (x: Value): Value => op.mul(x, x);
const clamp = (x: Value, low: number, high: number): Value => op.minimum(op.maximum(x, low), high);
