// When a run must not go on: the policy ran away from its reference, stopped speaking, or stopped being numbers.
// They read what was measured of the policy before an update; what is kept instead is the course's business.
import type { Adapter, Tensor } from '@rapport/core';
import type { Row } from './rows.ts';

/** Limits of what is measured before every update, and once more after the last. */
export interface Limits {
  /**
   * KL to the reference per token, in nats: on replies of its own where the method samples, else by how much less likely
   * than the reference it finds the replies it learns from.
   */
  readonly klStop: number;
  /**
   * Length of replies over that at the start: of replies of its own where the method samples, else of what the policy
   * would speak along the replies it learns from before it ended them (`tokensSpoken`).
   */
  readonly lengthStop: number;
}

/** What was measured of a policy. */
export interface Measured {
  /** Per token, in nats, as `klStop` says. */
  readonly kl: number;
  /** In any unit that stays the same; NaN where the end of turn is not known, and then not looked at. */
  readonly length: number;
  /** The loss or the mean score. */
  readonly worth: number;
}

export type StopCode = 'train/kl' | 'train/length' | 'train/not-finite';

/** Why a run stops. */
export interface Stop {
  readonly code: StopCode;
  readonly message: string;
}

/** What a method learned; after a stop the last adapter that was within the limits. */
export interface Trained {
  readonly adapter: Adapter;
  readonly stopped?: Stop;
}

/** Why a policy is not good enough to go on from; undefined when it is. */
export function stopOf(
  { kl, length, worth }: Measured,
  firstLength: number,
  { klStop, lengthStop }: Limits,
): Stop | undefined {
  if (!Number.isFinite(kl + worth)) {
    return { code: 'train/not-finite', message: `KL ${kl} per token, loss or score ${worth}` };
  }
  if (kl > klStop) {
    const message = `KL ${kl.toFixed(3)} per token to the reference, at most ${klStop}`;
    return { code: 'train/kl', message };
  }
  const shortest = lengthStop * firstLength;
  if (length < shortest) {
    const message = `Replies of length ${length.toFixed(2)}, at least ${shortest.toFixed(2)}`;
    return { code: 'train/length', message };
  }
  return undefined;
}

/** The stop that norms of gradients call for: a number that is not finite must reach no parameter. */
export function stopFor(...gradientNorms: readonly number[]): Stop | undefined {
  if (gradientNorms.every(Number.isFinite)) return undefined;
  return { code: 'train/not-finite', message: `Gradients of norm ${gradientNorms.join(' and ')}` };
}

/**
 * How many tokens of the rows' replies a policy would speak before it ended them: Σ_t Π_{i ≤ t} (1 − p_i).
 *
 * `ends`: log p [N], of the end of turn in place of each token, the rows' replies one after another; NaN without it.
 */
export function tokensSpoken(ends: Tensor | undefined, rows: readonly Row[]): number {
  if (!ends) return NaN;
  const logprobs = ends.data as Float32Array;
  let [at, spoken] = [0, 0];
  for (const { reply } of rows) {
    let going = 1;
    for (const end = at + reply.length; at < end; at++) {
      going *= -Math.expm1(logprobs[at]!);
      spoken += going;
    }
  }
  return spoken;
}
