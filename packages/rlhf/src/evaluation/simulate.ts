// A simulated person votes on sampled replies, a method learns from those votes alone, and the person
// judges the result on prompts kept apart.
import { Random, RapportError } from '@rapport/core';
import type { Adapter, Tokenizer } from '@rapport/core';
import { Speaker } from '../rollout/speaker.ts';
import type { SampledReply } from '../rollout/speaker.ts';
import { reinforces, runPipeline } from '../train/pipeline.ts';
import type { PipelineRecord, PipelineResult, PipelineSpec, Platform } from '../train/pipeline.ts';
import type { Thumb } from '../train/kto.ts';
import { logprobOf, Policy } from '../train/policy.ts';
import { placeIn } from '../train/policy-graph.ts';
import { pairsOf } from '../train/rankings.ts';
import type { Ranking } from '../train/rankings.ts';
import { scaleAdapter } from '../train/adapter.ts';
import { nll, nllGrowth, NLL_LIMIT, scaleWithin } from '../train/scale-within.ts';
import { ordinaryText, questionOf } from '../train/demonstrations.ts';
import type { StopCode } from '../train/guards.ts';
import { featuresOf, rewardOf } from '../train/reward.ts';
import type { RewardModel } from '../train/reward.ts';
import { scoreOf, thumbsUp } from './annotator.ts';
import type { Annotator } from './annotator.ts';
import { loops } from './canaries.ts';
import { scaleForKl } from './scaled-control.ts';
import { comparisonsOf, lengthControlled, meanOver, winsOf } from './win-rate.ts';
import type { Interval } from './win-rate.ts';

/** A line of a prompts or demonstrations file. */
export interface Instruction {
  readonly id: string;
  readonly instruction: string;
  readonly input?: string;
  readonly output?: string;
}

export interface SimulationSpec {
  readonly annotator: Annotator;
  readonly prompts: readonly Instruction[];
  readonly demonstrations: readonly Instruction[];
  readonly method: PipelineSpec['method'];
  /** Ranked replies in all, whole prompts of K; with 'kto' thumbs, on one reply of each prompt before any has two. */
  readonly votes: number;
  /** K, replies per prompt; 'kto' takes as many as it needs. */
  readonly replies: number;
  /** Keep only so many pairs of the rankings: what a person who compares two at a time would give. */
  readonly pairs?: number;
  /** Probability that a pairwise judgement is flipped. */
  readonly noise: number;
  readonly seed: number;
  readonly maxTokens: number;
  readonly judgedPrompts: number;
  readonly judgedSamples: number;
  /** Also judge the warm start scaled to the KL of the result. */
  readonly control?: boolean;
  /** Also judge the result turned down and up, where there is a reward model: what reward is worth at which KL. */
  readonly frontier?: boolean;
  readonly place?: PipelineSpec['place'];
  readonly dpo?: PipelineSpec['dpo'];
  readonly ppo?: PipelineSpec['ppo'];
  readonly kto?: PipelineSpec['kto'];
  readonly sft?: PipelineSpec['sft'];
  readonly reward?: PipelineSpec['reward'];
  /** The base's replies from an earlier run of the same seed and sizes: they do not depend on the person. */
  readonly sampled?: BaseSamples;
}

/** What the base said, to vote on and to be compared with. */
export interface BaseSamples {
  readonly voted: readonly (readonly SampledReply[])[];
  readonly base: readonly (readonly SampledReply[])[];
}

export interface SimulationResult {
  readonly method: string;
  readonly votes: number;
  readonly winRate: number;
  readonly low: number;
  readonly high: number;
  /** What was won at each judged prompt: results of other seeds, judged at the same prompts, can be pooled. */
  readonly wins: readonly number[];
  /** The win rate if replies of both had as many words. */
  readonly lengthControlled: Interval;
  /** The warm start as it would be returned by itself, turned down as the result is: what reinforcement adds to. */
  readonly warmStart?: {
    readonly winRate: number;
    readonly low: number;
    readonly high: number;
    nllChange: number;
  };
  /** That warm start scaled until its KL is that of the result: what needs no reinforcement. */
  readonly control?: {
    readonly scale: number;
    readonly kl: number;
    readonly winRate: number;
    readonly low: number;
    readonly high: number;
    readonly nllChange: number;
  };
  /**
   * The result at several scales. Where `reward` still rises and `winRate` no longer does, the reward model is being fooled
   * (over-optimisation, arXiv 2210.10760).
   */
  readonly frontier?: readonly {
    readonly scale: number;
    readonly kl: number;
    /** Mean normalised score by the reward model that was trained on. */
    readonly reward: number;
    readonly winRate: number;
    readonly low: number;
    readonly high: number;
    readonly nllChange: number;
  }[];
  /** Mean log π/π_ref per token on the policy's own replies; for 'bestofn' `bestOfKl` over their length. */
  readonly kl: number;
  readonly nllChange: number;
  readonly rewardModelAccuracy: number;
  readonly usablePairs: number;
  /** Why training ended early, with the last good adapter. */
  readonly stopped?: StopCode;
  /** Words. */
  readonly replyLength: number;
  readonly baseReplyLength: number;
  readonly ended: number;
  readonly baseEnded: number;
  /** Shares of replies without a word, and of those that say some stretch again and again. */
  readonly empty: number;
  readonly baseEmpty: number;
  readonly repeated: number;
  readonly baseRepeated: number;
  readonly tokensTrained: number;
  readonly trainSeconds: number;
  readonly seconds: number;
  readonly samples: readonly {
    readonly prompt: string;
    readonly base: string;
    readonly tuned: string;
  }[];
}

export type SimulationRecord =
  PipelineRecord | { readonly stage: 'vote' | 'judge'; readonly step: number; readonly of: number };

const TEMPERATURE = 0.9;
/** Scales of the result at which it is judged for its frontier. */
const FRONTIER = [0.25, 0.5, 0.75, 1, 1.5, 2];
/** N of best-of-N. */
const BEST_OF = 4;

type SimulationPlatform = Platform & { readonly tokenizer: Tokenizer };

/** The base's replies to the prompts to vote on and to those kept for judging. */
export async function* sampleBase(
  spec: SimulationSpec,
  platform: SimulationPlatform,
  signal?: AbortSignal,
): AsyncGenerator<SimulationRecord, BaseSamples> {
  const { train, replies, judged } = splitPrompts(spec);
  const booth = await Booth.open(spec, platform, signal);
  try {
    const voted = yield* booth.speak('vote', train, replies, spec.seed + 1, null);
    const base = yield* booth.speak('judge', judged, spec.judgedSamples, 1001, null);
    return { voted, base };
  } finally {
    await booth.close();
  }
}

/** Votes, learning, judgement. Yields the progress of each; returns the result and what was learned. */
export async function* simulate(
  spec: SimulationSpec,
  platform: SimulationPlatform,
  signal?: AbortSignal,
): AsyncGenerator<SimulationRecord, SimulationResult & { result: PipelineResult }> {
  const started = platform.now();
  const { tokenizer, checkpoint, runtime } = platform;
  const { train, judged } = splitPrompts(spec);
  const { voted, base } = spec.sampled ?? (yield* sampleBase(spec, platform, signal));
  const textOf = (reply: SampledReply) =>
    tokenizer.decode(reply.tokens, { skipSpecial: true }).trim();
  const scoresOf = (lines: readonly Instruction[], replies: BaseSamples['base']) =>
    replies.map((list, p) =>
      list.map((reply) => scoreOf(spec.annotator, questionOf(lines[p]!), textOf(reply))),
    );

  // The person votes, with mistakes.
  const mistakes = new Random(spec.seed * 31 + 6);
  const scores = scoresOf(train, voted);
  const rankings = rankingsBy(scores, voted, spec, mistakes);
  const isUp = thumbsUp(scores.flat());
  const rounds = Array.from(
    { length: Math.max(...voted.map(({ length }) => length)) },
    (_, k) => k,
  );
  const thumbs = rounds
    .flatMap((k) =>
      voted.flatMap((replies, p): Thumb[] => {
        if (!replies[k]) return [];
        const { prompt, tokens: reply } = replies[k];
        const flipped = mistakes.uniform() < spec.noise;
        return [{ prompt, reply, good: isUp(scores[p]![k]!) !== flipped }];
      }),
    )
    .slice(0, spec.votes);

  // The method learns from the votes alone.
  const { text, heldOutText } = ordinaryText(spec.demonstrations, tokenizer);
  const result = yield* runPipeline(
    {
      ...(spec.method === 'kto' ? { rankings: [], thumbs } : { rankings }),
      text,
      heldOutText,
      method: spec.method,
      seed: spec.seed,
      ...(spec.place && { place: spec.place }),
      ...(spec.dpo && { dpo: spec.dpo }),
      ...(spec.ppo && { ppo: spec.ppo }),
      ...(spec.kto && { kto: spec.kto }),
      ...(spec.sft && { sft: spec.sft }),
      ...(spec.reward && { reward: spec.reward }),
    },
    platform,
    signal,
  );

  // The person judges, on prompts kept apart.
  const booth = await Booth.open(spec, platform, signal);
  const policy = new Policy(checkpoint, runtime, { place: spec.place });
  try {
    const baseScores = scoresOf(judged, base);
    const winsAgainstBase = (replies: BaseSamples['base']) =>
      winsOf(scoresOf(judged, replies), baseScores);
    const won = (replies: BaseSamples['base']) =>
      meanOver(winsAgainstBase(replies), new Random(99));
    const of = spec.method === 'bestofn' ? BEST_OF : 1;
    const count = of * spec.judgedSamples;
    const spoken = yield* booth.speak('judge', judged, count, 2002, result.adapter);
    const tuned = of > 1 ? await bestOf(of, spoken, policy, result.reward!) : spoken;
    const kl =
      of > 1
        ? bestOfKl(of) / average(tuned.flat().map(({ tokens }) => tokens.length))
        : await klOf(policy, everyFourth(tuned), result.adapter);
    const judgedAgain = reinforces(spec.method) || spec.frontier;
    const kept = judgedAgain ? await policy.withTrunk(heldOutText, signal) : [];
    const before = nll(await policy.scoresAs(kept, null, logprobOf, { signal }));
    const growthOf = (adapter: Adapter) =>
      nllGrowth(policy, adapter, { text: kept, before }, signal);
    const judge = async function* (adapter: Adapter) {
      const replies = yield* booth.speak('judge', judged, spec.judgedSamples, 2002, adapter);
      const nllChange = await growthOf(adapter)(1);
      return { replies, report: { ...won(replies), nllChange } };
    };
    let warmStart: SimulationResult['warmStart'];
    let control: SimulationResult['control'];
    if (reinforces(spec.method)) {
      const allowed = await scaleWithin(NLL_LIMIT, growthOf(result.warmStart));
      const start = scaleAdapter(result.warmStart, allowed.scale);
      const warm = yield* judge(start);
      warmStart = warm.report;
      if (spec.control) {
        const whole = await klOf(policy, everyFourth(warm.replies), start);
        const { scale } = await scaleForKl(kl, whole, async (by) => {
          const adapter = scaleAdapter(start, by);
          const run = booth.speak('judge', judged, 1, 3003, adapter);
          let next = await run.next();
          while (!next.done) next = await run.next();
          return klOf(policy, next.value.flat(), adapter);
        });
        const adapter = scaleAdapter(start, scale);
        const { replies, report } = yield* judge(adapter);
        control = { scale, kl: await klOf(policy, everyFourth(replies), adapter), ...report };
      }
    }
    const frontier = [];
    if (spec.frontier && result.reward) {
      for (const scale of FRONTIER) {
        const adapter = scaleAdapter(result.adapter, scale);
        const { replies, report } = yield* judge(adapter);
        const rewards = await rewardsOf(replies.flat(), policy, result.reward);
        frontier.push({
          scale,
          kl: await klOf(policy, everyFourth(replies), adapter),
          reward: average([...rewards.values()]),
          ...report,
        });
      }
    }
    const wordsOf = (reply: SampledReply) => textOf(reply).split(/\s+/).filter(Boolean).length;
    const words = (list: readonly SampledReply[]) => average(list.map(wordsOf));
    const measured = (replies: BaseSamples['base']) => {
      const scores = scoresOf(judged, replies);
      return replies.map((list, p) =>
        list.map((reply, k) => ({ score: scores[p]![k]!, words: wordsOf(reply) })),
      );
    };
    const share = (list: readonly SampledReply[], is: (reply: SampledReply) => boolean) =>
      list.filter(is).length / list.length;
    const isEnded = ({ ended }: SampledReply) => ended;
    const isEmpty = (reply: SampledReply) => textOf(reply) === '';
    const isRepeated = ({ tokens }: SampledReply) => loops(tokens);
    const [sampled, untaught] = [tuned.flat(), base.flat()];
    return {
      result,
      method: spec.method,
      votes: spec.votes,
      ...won(tuned),
      wins: winsAgainstBase(tuned),
      lengthControlled: lengthControlled(
        comparisonsOf(measured(tuned), measured(base), {
          score: ({ score }) => score,
          length: (reply) => reply.words,
        }),
        new Random(99),
      ),
      ...(warmStart && { warmStart }),
      ...(control && { control }),
      ...(frontier.length > 0 && { frontier }),
      kl,
      nllChange: result.measures.nllChange,
      rewardModelAccuracy: result.measures.rewardModelAccuracy!,
      usablePairs: result.measures.pairs,
      ...(result.stopped && { stopped: result.stopped.code }),
      replyLength: words(sampled),
      baseReplyLength: words(untaught),
      ended: share(sampled, isEnded),
      baseEnded: share(untaught, isEnded),
      empty: share(sampled, isEmpty),
      baseEmpty: share(untaught, isEmpty),
      repeated: share(sampled, isRepeated),
      baseRepeated: share(untaught, isRepeated),
      tokensTrained: result.measures.tokensTrained,
      trainSeconds: result.measures.seconds,
      seconds: (platform.now() - started) / 1000,
      samples: judged.slice(0, 4).map((line, p) => ({
        prompt: questionOf(line),
        base: textOf(base[p]![0]!),
        tuned: textOf(tuned[p]![0]!),
      })),
    };
  } finally {
    await booth.close();
    await policy.dispose();
  }
}

/** Where replies are sampled for the person. */
class Booth {
  readonly #speaker: Speaker;
  readonly #tokenizer: Tokenizer;
  readonly #sampling: { temperature: number; maxTokens: number; signal?: AbortSignal };

  private constructor(
    speaker: Speaker,
    tokenizer: Tokenizer,
    sampling: { temperature: number; maxTokens: number; signal?: AbortSignal },
  ) {
    this.#speaker = speaker;
    this.#tokenizer = tokenizer;
    this.#sampling = sampling;
  }

  static async open(
    { maxTokens, place }: SimulationSpec,
    { checkpoint, runtime, endOfTurn, tokenizer }: SimulationPlatform,
    signal?: AbortSignal,
  ): Promise<Booth> {
    const { fromLayer } = placeIn(checkpoint.config, place);
    const speaker = await Speaker.create(checkpoint, runtime, { endOfTurn, fromLayer });
    return new Booth(speaker, tokenizer, {
      temperature: TEMPERATURE,
      maxTokens,
      ...(signal && { signal }),
    });
  }

  async *speak(
    stage: 'vote' | 'judge',
    lines: readonly Instruction[],
    replies: number,
    seed: number,
    adapter: Adapter | null,
  ): AsyncGenerator<SimulationRecord, SampledReply[][]> {
    const prompts = lines.map((line) => promptOf(line, this.#tokenizer));
    const run = this.#speaker.sample(prompts, { ...this.#sampling, replies, seed, adapter });
    for (;;) {
      const next = await run.next();
      if (next.done) return next.value;
      yield { stage, step: next.value.done, of: next.value.of };
    }
  }

  close(): Promise<void> {
    return this.#speaker.dispose();
  }
}

const promptOf = (line: Instruction, tokenizer: Tokenizer): number[] =>
  tokenizer.encodeChat([{ role: 'user', content: questionOf(line) }], {
    addGenerationPrompt: true,
  });

/** A seeded third is kept for judging; the rest gives the prompts to vote on, and how many replies each has. */
function splitPrompts(spec: SimulationSpec) {
  // The split must not depend on the seed of the votes: results of several seeds are judged on the same prompts.
  const shuffled = new Random(4).shuffle(spec.prompts);
  const third = Math.floor(shuffled.length / 3);
  const pool = new Random(spec.seed * 31 + 5).shuffle(shuffled.slice(third));
  if (pool.length === 0 || third === 0) {
    throw new RapportError(
      'evaluation/few-prompts',
      `${spec.prompts.length} prompts cannot be divided into votes and judging.`,
      'Give at least 3 prompts; 100 or more make useful intervals.',
    );
  }
  const { method, votes } = spec;
  const wanted = method === 'kto' ? Math.min(votes, pool.length) : Math.ceil(votes / spec.replies);
  const train = Array.from({ length: wanted }, (_, i) => pool[i % pool.length]!);
  const replies = method === 'kto' ? Math.ceil(votes / wanted) : spec.replies;
  return { train, replies, judged: shuffled.slice(0, Math.min(third, spec.judgedPrompts)) };
}

/**
 * What a person with these scores says of the replies to each prompt: their order, every pair of it misjudged with
 * probability `noise`, or, where `pairs` are asked for, so many pairs, each misjudged with that probability.
 */
export function rankingsBy(
  scores: readonly (readonly number[])[],
  voted: BaseSamples['voted'],
  { noise, pairs }: Pick<SimulationSpec, 'noise' | 'pairs'>,
  random: Random,
): Ranking[] {
  const ranked = (mistaken: number) =>
    voted.map((replies, p): Ranking => ({
      prompt: replies[0]!.prompt,
      replies: replies.map(({ tokens }) => tokens),
      ranks: noisyRanks(scores[p]!, mistaken, random),
    }));
  if (!pairs) return ranked(noise);
  return onlyPairs(ranked(0), pairs, random).map((pair) =>
    random.uniform() < noise ? { ...pair, ranks: [2, 1] } : pair,
  );
}

/** Ranks by wins over all pairs, each judgement flipped with probability `noise`; equal scores tie. */
export function noisyRanks(scores: readonly number[], noise: number, random: Random): number[] {
  const wins = scores.map(() => 0);
  scores.forEach((a, i) => {
    scores.slice(i + 1).forEach((b, offset) => {
      const j = i + 1 + offset;
      if (a === b) {
        wins[i]! += 0.5;
        wins[j]! += 0.5;
      } else {
        const first = random.uniform() < noise ? a < b : a > b;
        wins[first ? i : j]! += 1;
      }
    });
  });
  return wins.map((w) => 1 + wins.filter((other) => other > w).length);
}

/** At most `count` decided pairs as rankings of two, spread over the prompts. */
function onlyPairs(rankings: readonly Ranking[], count: number, random: Random): Ranking[] {
  const left = rankings.map((ranking) => ({
    ranking,
    pairs: random.shuffle(pairsOf(ranking.ranks)),
  }));
  const chosen: Ranking[] = [];
  while (chosen.length < count && left.some(({ pairs }) => pairs.length > 0)) {
    for (const { ranking, pairs } of left) {
      const pair = pairs.pop();
      if (!pair || chosen.length === count) continue;
      const { prompt, replies } = ranking;
      chosen.push({
        prompt,
        replies: [replies[pair.better]!, replies[pair.worse]!],
        ranks: [1, 2],
      });
    }
  }
  return chosen;
}

async function rewardsOf(
  replies: readonly SampledReply[],
  policy: Policy,
  reward: RewardModel,
): Promise<Map<SampledReply, number>> {
  const rows = replies.map(({ prompt, tokens: reply }) => ({ prompt, reply }));
  const features = await policy.statesAs(await policy.withTrunk(rows), featuresOf);
  return new Map(replies.map((reply, i) => [reply, rewardOf(reward, features[i]!)]));
}

/** Of every `of` samples the one the reward model likes best. */
async function bestOf(
  of: number,
  samples: readonly SampledReply[][],
  policy: Policy,
  reward: RewardModel,
): Promise<SampledReply[][]> {
  const rewards = await rewardsOf(samples.flat(), policy, reward);
  return samples.map((list) =>
    Array.from({ length: list.length / of }, (_, k) =>
      list
        .slice(k * of, (k + 1) * of)
        .reduce((a, b) => (rewards.get(b)! > rewards.get(a)! ? b : a)),
    ),
  );
}

/**
 * KL per reply, in nats, of the best of n replies to one of them: ln n − (n − 1)/n (arXiv 2009.01325, appendix G.3); at
 * most that where replies can be equal (arXiv 2401.01879).
 */
export const bestOfKl = (n: number): number => Math.log(n) - (n - 1) / n;

/** A quarter of the replies, enough to measure KL on. */
const everyFourth = (groups: readonly (readonly SampledReply[])[]): SampledReply[] =>
  groups.flat().filter((_, i) => i % 4 === 0);

/** Mean log π/π_ref per token over replies. */
async function klOf(
  policy: Policy,
  replies: readonly SampledReply[],
  adapter: Adapter,
): Promise<number> {
  const rows = await policy.withTrunk(
    replies.map(({ prompt, tokens }) => ({ prompt, reply: tokens })),
  );
  const [ours, base] = [await policy.score(rows, adapter), await policy.score(rows, null)];
  let [kl, tokens] = [0, 0];
  ours.forEach(({ logprobs }, i) => {
    logprobs.forEach((lp, t) => (kl += lp - base[i]!.logprobs[t]!));
    tokens += logprobs.length;
  });
  return kl / tokens;
}

const average = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length;
