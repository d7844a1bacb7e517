// What can be said of a new adapter without asking a person: it against the one in use, on prompts kept
// apart, judged by the reward model; how far it went; whether its replies still end.
import { Random } from '@rapport/core';
import type { Adapter } from '@rapport/core';
import type { SampledReply, Speaker } from '../rollout/speaker.ts';
import type { Policy, RowScore, RowStates } from '../train/policy.ts';
import { featuresOf, rewardOf } from '../train/reward.ts';
import type { RewardModel } from '../train/reward.ts';
import type { TrunkRow } from '../train/rows.ts';
import { winRate } from './win-rate.ts';

/** Replies whose tokens are many enough for KL. */
const KL_REPLIES = 40;

export interface ArenaSpec {
  readonly adapter: Adapter;
  /** The adapter in use; null for the bare base. */
  readonly current: Adapter | null;
  readonly reward: RewardModel;
  readonly prompts: readonly (readonly number[])[];
  readonly samples: number;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly seed: number;
}

export interface ArenaResult {
  /** Of the adapter against the current one, by the reward model, with its 95 % interval. */
  readonly winRate: number;
  readonly low: number;
  readonly high: number;
  /** Mean log π/π_base per token on some of the adapter's replies, in nats. */
  readonly kl: number;
  /** Share of replies that ended by themselves. */
  readonly endedFraction: number;
  /** Tokens. */
  readonly replyLength: number;
  readonly baseReplyLength: number;
}

/** Likeliest next tokens of a prompt, natural-log probabilities. */
export interface GoldenTokens {
  readonly promptTokens: number[];
  readonly top5: { id: number; logprob: number }[];
}

/** Samples, judges and measures; yields how far it is, returns the measurements and a golden test. */
export async function* ownArena(
  spec: ArenaSpec,
  { policy, speaker }: { policy: Policy; speaker: Speaker },
  signal?: AbortSignal,
): AsyncGenerator<
  { stage: 'arena'; step: number; of: number },
  ArenaResult & { golden: GoldenTokens }
> {
  const { samples: replies, maxTokens, temperature, seed } = spec;
  const options = { replies, maxTokens, temperature, seed, ...(signal && { signal }) };
  const half = spec.prompts.length * replies;
  const sample = async function* (adapter: Adapter | null, before: number) {
    const run = speaker.sample(spec.prompts, { ...options, adapter });
    for (let told = -1; ;) {
      const next = await run.next();
      if (next.done) return next.value;
      const { done } = next.value;
      if (done === told) continue;
      yield { stage: 'arena' as const, step: before + done, of: 2 * half };
      told = done;
    }
  };
  const ours = yield* sample(spec.adapter, 0);
  const theirs = yield* sample(spec.current, half);
  const golden = await goldenOf(speaker, spec.prompts[0]!, spec.adapter);
  const read = (groups: SampledReply[][]) =>
    policy.withTrunk(
      groups.flat().map(({ prompt, tokens }) => ({ prompt, reply: tokens })),
      signal,
    );
  const score = (rows: readonly TrunkRow[], adapter: Adapter | null) =>
    policy.score(rows, adapter, signal ? { signal } : {});
  const judge = (states: readonly RowStates[]) => {
    const rewards = states.map((one) => rewardOf(spec.reward, featuresOf(one)));
    return spec.prompts.map((_, p) => rewards.slice(p * replies, (p + 1) * replies));
  };
  const rows = await read(ours);
  const base = await score(rows, null);
  const every = Math.ceil(rows.length / KL_REPLIES);
  const some = <T>(all: readonly T[]) => all.filter((_, i) => i % every === 0);
  const tuned = await score(some(rows), spec.adapter);
  const before = judge(await policy.states(await read(theirs), signal));
  const interval = winRate(judge(base), before, new Random(99));
  const length = (groups: SampledReply[][]) => average(groups.flat().map((r) => r.tokens.length));
  return {
    ...interval,
    kl: klOf(tuned, some(base)),
    endedFraction: average(ours.flat().map((r) => Number(r.ended))),
    replyLength: length(ours),
    baseReplyLength: length(theirs),
    golden,
  };
}

async function goldenOf(
  speaker: Speaker,
  prompt: readonly number[],
  adapter: Adapter,
): Promise<GoldenTokens> {
  const probabilities = await speaker.next(prompt, adapter);
  const top5 = Array.from(probabilities, (p, id) => ({ id, logprob: Math.log(p) }))
    .sort((a, b) => b.logprob - a.logprob)
    .slice(0, 5);
  return { promptTokens: [...prompt], top5 };
}

/** Mean log π/π_base per token of the same replies. */
function klOf(tuned: readonly RowScore[], base: readonly RowScore[]): number {
  return average(
    tuned.flatMap(({ logprobs }, i) =>
      Array.from(logprobs, (logprob, t) => logprob - base[i]!.logprobs[t]!),
    ),
  );
}

const average = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length;
