// What can be said of a new adapter without asking a person: it against the one in use, on prompts kept
// apart, judged by the reward model; how far it went; whether its replies still end.
import { Random } from '@rapport/core';
import type { Adapter } from '@rapport/core';
import type { SampledReply, Speaker } from '../rollout/speaker.ts';
import type { Policy, RowScore } from '../train/policy.ts';
import { featuresOf, rewardOf } from '../train/reward.ts';
import type { ReplyFeatures, RewardModel } from '../train/reward.ts';
import { comparisonsOf, preference, rateAtEqualLength, winRate } from './win-rate.ts';
import type { Interval } from './win-rate.ts';

/** Replies whose tokens are many enough for KL. */
const KL_REPLIES = 40;
/**
 * What a bound may err by in each round, together 5 %: the first round decides unless it is close, and then a second
 * one is worth its time.
 */
const TAILS = [0.01, 0.04];

export interface ArenaSpec {
  readonly adapter: Adapter;
  /** The adapter in use; null for the bare base. */
  readonly current: Adapter | null;
  /** Who judges; without one there is no win rate. */
  readonly reward?: RewardModel | undefined;
  readonly prompts: readonly (readonly number[])[];
  /** The win rate that is asked for: a second round is spoken while it lies between the bounds. */
  readonly asked: number;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly seed: number;
}

export interface ArenaResult {
  /**
   * Of the adapter against the current one: the probability of being preferred by the reward model. `low` and `high`
   * are bounds that each hold with 95 %, however many rounds it took.
   */
  readonly winRate?: number;
  readonly low?: number;
  readonly high?: number;
  /** The same if replies of both were equally long; it bounds nothing. */
  readonly lengthControlled?: number;
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

/** Speaks, judges and measures; yields how far it is, returns the measurements and a golden test. */
export async function* ownArena(
  spec: ArenaSpec,
  { policy, speaker }: { policy: Policy; speaker: Speaker },
  signal?: AbortSignal,
): AsyncGenerator<
  { stage: 'arena'; step: number; of: number },
  ArenaResult & { golden: GoldenTokens }
> {
  const { maxTokens, temperature, reward } = spec;
  const [ours, theirs] = [new Side(), new Side()];
  const speak = async function* (adapter: Adapter | null, round: number) {
    const options = { replies: 1, maxTokens, temperature, seed: spec.seed + round };
    const run = speaker.sample(spec.prompts, { ...options, adapter, ...(signal && { signal }) });
    const before = ours.replies.length + theirs.replies.length;
    for (let told = -1; ;) {
      const next = await run.next();
      if (next.done) return next.value.flat();
      const { done } = next.value;
      if (done === told) continue;
      yield {
        stage: 'arena' as const,
        step: before + done,
        of: 2 * (round + 1) * spec.prompts.length,
      };
      told = done;
    }
  };
  const read = (replies: readonly SampledReply[]) =>
    policy.withTrunk(
      replies.map(({ prompt, tokens }) => ({ prompt, reply: tokens })),
      signal,
    );
  const scored = signal ? { signal } : {};
  let interval: Interval | undefined;
  let kl = NaN;
  for (let round = 0; ; round++) {
    const spoken = yield* speak(spec.adapter, round);
    const rows = await read(spoken);
    const base = await policy.score(rows, null, scored);
    ours.replies.push(...spoken);
    if (round === 0) {
      const every = Math.ceil(rows.length / KL_REPLIES);
      const some = <T>(all: readonly T[]) => all.filter((_, i) => i % every === 0);
      kl = klOf(await policy.score(some(rows), spec.adapter, scored), some(base));
    }
    const others = yield* speak(spec.current, round);
    theirs.replies.push(...others);
    if (!reward) break;
    ours.judge(base.map(featuresOf), reward);
    theirs.judge(await policy.statesAs(await read(others), featuresOf, signal), reward);
    interval = winRate(ours.scores, theirs.scores, new Random(99), {
      win: preference,
      tail: TAILS[round]!,
    });
    const decided = interval.low >= spec.asked || interval.high < spec.asked;
    if (decided || round === TAILS.length - 1) break;
  }
  return {
    ...interval,
    ...(reward && { lengthControlled: atEqualLength(ours.judged, theirs.judged) }),
    kl,
    endedFraction: average(ours.replies.map((r) => Number(r.ended))),
    replyLength: ours.length,
    baseReplyLength: theirs.length,
    golden: await goldenOf(speaker, spec.prompts[0]!, spec.adapter),
  };
}

/** One reply: log-odds of being preferred, up to a constant, and its length. */
interface Judged {
  readonly score: number;
  readonly tokens: number;
}

/** The replies of one side, and what the reward model says of them. */
class Side {
  readonly replies: SampledReply[] = [];
  /** Of each prompt, the replies of all rounds. */
  judged: Judged[][] = [];

  /** Takes in what is thought of the newest replies. */
  judge(replies: readonly ReplyFeatures[], reward: RewardModel): void {
    this.judged = replies.map((one, p) => [
      ...(this.judged[p] ?? []),
      { score: rewardOf(reward, one) / reward.gain, tokens: one.tokens },
    ]);
  }

  get scores(): number[][] {
    return this.judged.map((replies) => replies.map(({ score }) => score));
  }

  /** Mean tokens of a reply. */
  get length(): number {
    return average(this.replies.map(({ tokens }) => tokens.length));
  }
}

function atEqualLength(ours: Judged[][], theirs: Judged[][]): number {
  const comparisons = comparisonsOf(ours, theirs, {
    score: ({ score }) => score,
    length: ({ tokens }) => tokens,
    win: preference,
  });
  return rateAtEqualLength(comparisons.flat());
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
