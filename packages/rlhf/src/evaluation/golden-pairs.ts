// Golden pairs: fixed prompts with a plainly better and a plainly worse reply. Nobody's taste decides them, so a
// policy that has come to prefer the worse ones has learned something else than taste.
import type { Adapter } from '@rapport/core';
import { logprobOf } from '../train/policy.ts';
import type { Policy, RowScore } from '../train/policy.ts';

/** Tokens; the replies with their end-of-turn token. */
export interface GoldenPair {
  readonly prompt: readonly number[];
  readonly chosen: readonly number[];
  readonly rejected: readonly number[];
}

/**
 * How many of the pairs the adapter, and the bare base, prefer the wrong way round: by the mean log π per token,
 * since sums prefer whatever is shorter.
 */
export async function goldenErrors(
  policy: Policy,
  pairs: readonly GoldenPair[],
  adapter: Adapter,
  signal?: AbortSignal,
): Promise<{ goldenErrors: number; baseGoldenErrors: number; goldenPairs: number }> {
  const rows = pairs.flatMap(({ prompt, chosen, rejected }) => [
    { prompt, reply: chosen },
    { prompt, reply: rejected },
  ]);
  const trunks = await policy.withTrunk(rows, signal);
  const errors = async (speaking: Adapter | null) => {
    const scores = await policy.score(trunks, speaking, signal ? { signal } : {});
    const worse = pairs.filter((_, i) => meanOf(scores[2 * i + 1]!) >= meanOf(scores[2 * i]!));
    return worse.length;
  };
  return {
    goldenErrors: await errors(adapter),
    baseGoldenErrors: await errors(null),
    goldenPairs: pairs.length,
  };
}

const meanOf = (score: RowScore): number => logprobOf(score) / score.tokens;
