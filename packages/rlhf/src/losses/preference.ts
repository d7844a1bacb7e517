// DPO (arXiv 2305.18290 eq. 7) with its variants, and KTO (arXiv 2402.01306 eq. 8), as graph functions.
// They know log-probabilities of replies; where these come from is the trainer's business.
import { op } from '@rapport/core';
import type { Value } from '@rapport/core';
import { smoothed } from './ranking.ts';
import type { PairInputs } from './ranking.ts';

export interface DpoOptions {
  /** β: how dear it is to move away from the reference. */
  readonly beta: number;
  /** 'sigmoid' is DPO (cDPO with labelSmoothing), 'ipo' is (h − 1/2β)² (arXiv 2310.12036). */
  readonly kind?: 'sigmoid' | 'ipo';
  readonly labelSmoothing?: number;
}

/**
 * Σ weight · loss(h), h = ℓ_better − ℓ_worse.
 *
 * `logratios`: float [B], ℓ = log π(y|x) − log π_ref(y|x), summed over the reply with its end token
 * (for the length-normalised variant: divided by its tokens). Returns a scalar.
 */
export function dpoLoss(logratios: Value, pairs: PairInputs, options: DpoOptions): Value {
  const { beta, kind = 'sigmoid', labelSmoothing = 0 } = options;
  const h = op.sub(op.gather(logratios, pairs.better), op.gather(logratios, pairs.worse));
  if (kind === 'ipo') {
    const off = op.sub(h, 1 / (2 * beta));
    return op.reduceSum(op.mul(op.mul(off, off), pairs.weight), [0]);
  }
  return op.reduceSum(op.mul(smoothed(op.mul(h, beta), labelSmoothing), pairs.weight), [0]);
}

/** β·ℓ of each reply: the reward under which the policy would be the best one at this β (DPO eq. 5, up to the prompt's share). */
export const implicitRewards = (logratios: ArrayLike<number>, beta: number): number[] =>
  Array.from(logratios, (l) => beta * l);

/** KTO's reference point z: max(0, mean ℓ) of prompts with replies to others. */
export const referencePoint = (mismatched: readonly number[]): number =>
  Math.max(0, mismatched.reduce((a, b) => a + b, 0) / mismatched.length);

/** w_D·n_D/(w_U·n_U) is kept between these (KTO §4.2, class imbalance). */
const THUMB_BALANCE = [1, 4 / 3] as const;

/** Class weights of KTO: the rarer thumb weighs more until w_up·up/(w_down·down) lies in [1, 4/3]. */
export function thumbWeights(up: number, down: number): { up: number; down: number } {
  const [least, most] = THUMB_BALANCE;
  const ratio = up / down;
  return { up: Math.max(1, least / ratio), down: Math.max(1, ratio / most) };
}

/**
 * KTO: Σ weight · (1 − σ(sign · β(ℓ − z))).
 *
 * - `logratios`: float [B] as for DPO; `sign`: float [B], +1 thumb up, −1 thumb down.
 * - `z`: float scalar fed, `referencePoint`: a constant, no gradient passes.
 * - `weight`: float [B], class weight over batch size.
 */
export function ktoLoss(
  logratios: Value,
  { sign, z, weight }: { sign: Value; z: Value; weight: Value },
  beta: number,
): Value {
  const value = op.sigmoid(op.mul(op.mul(op.sub(logratios, z), sign), beta));
  return op.reduceSum(op.mul(op.sub(1, value), weight), [0]);
}
