// When a run must not go on: the policy ran away from its reference, stopped speaking, or stopped being numbers.
// They read what a round of rollouts measured; what is kept instead is the trainer's business.
import { RapportError } from '@rapport/core';

/** Limits of one round of rollouts. */
export interface Limits {
  /** KL to the reference per token, in nats. */
  readonly klStop: number;
  /** Mean reply length over that of the first round. */
  readonly lengthStop: number;
}

export type StopCode = 'ppo/kl' | 'ppo/length' | 'ppo/not-finite';

/** Why a run stops. */
export interface Stop {
  readonly code: StopCode;
  readonly message: string;
}

/** Why the policy that spoke is not good enough to go on from; undefined when it is. */
export function stopOf(
  round: { readonly klToken: number; readonly replyTokens: number; readonly score: number },
  firstReplyTokens: number,
  { klStop, lengthStop }: Limits,
): Stop | undefined {
  const { klToken, replyTokens, score } = round;
  if (!Number.isFinite(klToken) || !Number.isFinite(score)) {
    return { code: 'ppo/not-finite', message: `KL ${klToken} per token, score ${score}` };
  }
  if (klToken > klStop) {
    const message = `KL ${klToken.toFixed(3)} per token to the reference, at most ${klStop}`;
    return { code: 'ppo/kl', message };
  }
  const shortest = lengthStop * firstReplyTokens;
  if (replyTokens < shortest) {
    const message = `Replies of ${replyTokens.toFixed(1)} tokens, at least ${shortest.toFixed(1)}`;
    return { code: 'ppo/length', message };
  }
  return undefined;
}

/** The stop a failed update means; anything else is thrown on. */
export function stopAfter(error: unknown): Stop {
  if (error instanceof RapportError && error.code === 'train/not-finite') {
    return { code: 'ppo/not-finite', message: error.message };
  }
  throw error;
}
