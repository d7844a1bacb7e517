// A simulated person votes on sampled replies, a method learns from those votes alone, and the person
// judges the result on prompts kept apart.
import { RapportError } from '@rapport/core';
import type { ChatMessage, Tokenizer } from '@rapport/core';
import { Random } from '../optim/random.ts';
import { Speaker } from '../rollout/speaker.ts';
import type { SampledReply } from '../rollout/speaker.ts';
import type { Adapter } from '../train/adapter.ts';
import { runPipeline } from '../train/pipeline.ts';
import type { PipelineRecord, PipelineResult, PipelineSpec, Platform } from '../train/pipeline.ts';
import { Policy } from '../train/policy.ts';
import type { Ranking } from '../train/rankings.ts';
import type { Row } from '../train/rows.ts';
import { winRate } from './win-rate.ts';

/** Larger is better. */
export type Annotator = (prompt: string, reply: string) => number;

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
  /** Ranked replies in all. */
  readonly votes: number;
  /** K, replies per prompt. */
  readonly replies: number;
  /** Probability that a pairwise judgement is flipped. */
  readonly noise: number;
  readonly seed: number;
  readonly maxTokens: number;
  readonly judgedPrompts: number;
  readonly judgedSamples: number;
  readonly dpo?: PipelineSpec['dpo'];
  readonly ppo?: PipelineSpec['ppo'];
}

export interface SimulationResult {
  readonly method: string;
  readonly votes: number;
  readonly winRate: number;
  readonly low: number;
  readonly high: number;
  /** The warm start (DPO alone), judged the same way where it differs. */
  readonly warmStart?: {
    readonly winRate: number;
    readonly low: number;
    readonly high: number;
    nllChange: number;
  };
  /** Mean log π/π_ref per token on the policy's own replies. */
  readonly kl: number;
  readonly nllChange: number;
  readonly rewardModelAccuracy: number;
  readonly usablePairs: number;
  /** Words. */
  readonly replyLength: number;
  readonly baseReplyLength: number;
  readonly ended: number;
  readonly baseEnded: number;
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

export async function* simulate(
  spec: SimulationSpec,
  platform: Platform & { readonly tokenizer: Tokenizer },
  signal?: AbortSignal,
): AsyncGenerator<SimulationRecord, SimulationResult & { result: PipelineResult }> {
  const started = platform.now();
  const { tokenizer, checkpoint, runtime, endOfTurn } = platform;
  const random = new Random(spec.seed * 31 + 5);
  const { train, judged } = splitPrompts(spec, random);
  const ask = (line: Instruction): ChatMessage[] => [{ role: 'user', content: questionOf(line) }];
  const promptTokens = (line: Instruction) =>
    tokenizer.encodeChat(ask(line), { addGenerationPrompt: true });
  const textOf = (reply: SampledReply) =>
    tokenizer.decode(reply.tokens, { skipSpecial: true }).trim();
  const fromLayer = Math.floor(checkpoint.config.layers / 2);
  const sampling = {
    temperature: TEMPERATURE,
    maxTokens: spec.maxTokens,
    ...(signal && { signal }),
  };

  let speaker = await Speaker.create(checkpoint, runtime, { endOfTurn, fromLayer });
  const speak = async function* (
    stage: 'vote' | 'judge',
    lines: readonly Instruction[],
    replies: number,
    seed: number,
    adapter: Adapter | null,
  ): AsyncGenerator<SimulationRecord, SampledReply[][]> {
    const run = speaker.sample(lines.map(promptTokens), { ...sampling, replies, seed, adapter });
    for (;;) {
      const next = await run.next();
      if (next.done) return next.value;
      yield { stage, step: next.value.done, of: next.value.of };
    }
  };

  const voted = yield* speak('vote', train, spec.replies, spec.seed + 1, null);
  const base = yield* speak('judge', judged, spec.judgedSamples, 1001, null);
  await speaker.dispose();
  const rankings = voted.map((replies, p): Ranking => ({
    prompt: replies[0]!.prompt,
    replies: replies.map((r) => r.tokens),
    ranks: noisyRanks(
      replies.map((r) => spec.annotator(questionOf(train[p]!), textOf(r))),
      spec.noise,
      random,
    ),
  }));

  const rows = spec.demonstrations
    .filter(({ output }) => output)
    .map((line): Row => ({
      prompt: promptTokens(line),
      reply: [...tokenizer.encode(line.output!), endOfTurn],
    }))
    .filter(({ prompt, reply }) => prompt.length + reply.length <= 320);
  const heldOutText = rows.filter((_, i) => i % 3 === 0);
  const text = rows.filter((_, i) => i % 3 !== 0);
  const result = yield* runPipeline(
    {
      rankings,
      text,
      heldOutText,
      method: spec.method,
      seed: spec.seed,
      ...(spec.dpo && { dpo: spec.dpo }),
      ...(spec.ppo && { ppo: spec.ppo }),
    },
    platform,
    signal,
  );

  speaker = await Speaker.create(checkpoint, runtime, { endOfTurn, fromLayer });
  const judge = (replies: readonly SampledReply[][]) =>
    replies.map((list, p) => list.map((r) => spec.annotator(questionOf(judged[p]!), textOf(r))));
  const baseScores = judge(base);
  const against = (replies: readonly SampledReply[][]) =>
    winRate(judge(replies), baseScores, new Random(99));
  const tuned = yield* speak('judge', judged, spec.judgedSamples, 2002, result.adapter);
  const policy = new Policy(checkpoint, runtime);
  let warmStart: SimulationResult['warmStart'];
  if (result.warmStart !== result.adapter) {
    const warm = yield* speak('judge', judged, spec.judgedSamples, 2002, result.warmStart);
    const { changeOfNll } = await import('../train/pipeline.ts');
    const nllChange = await changeOfNll(
      policy,
      await policy.withTrunk(heldOutText),
      result.warmStart,
      signal,
    );
    warmStart = { ...against(warm), nllChange };
  }
  await speaker.dispose();

  const sampled = tuned.flat();
  const kl = await klOf(
    policy,
    sampled.filter((_, i) => i % 4 === 0),
    result.adapter,
  );
  await policy.dispose();
  const words = (list: readonly SampledReply[]) =>
    average(list.map((r) => textOf(r).split(/\s+/).filter(Boolean).length));
  const ended = (list: readonly SampledReply[]) => average(list.map((r) => Number(r.ended)));
  return {
    result,
    method: spec.method,
    votes: spec.votes,
    ...against(tuned),
    ...(warmStart && { warmStart }),
    kl,
    nllChange: result.measures.nllChange,
    rewardModelAccuracy: result.measures.rewardModelAccuracy,
    usablePairs: result.measures.pairs,
    replyLength: words(sampled),
    baseReplyLength: words(base.flat()),
    ended: ended(sampled),
    baseEnded: ended(base.flat()),
    tokensTrained: result.measures.tokensTrained,
    trainSeconds: result.measures.seconds,
    seconds: (platform.now() - started) / 1000,
    samples: judged.slice(0, 4).map((line, p) => ({
      prompt: questionOf(line),
      base: textOf(base[p]![0]!),
      tuned: textOf(tuned[p]![0]!),
    })),
  };
}

/** A seeded third is kept for judging; the rest gives the prompts to vote on. */
function splitPrompts(spec: SimulationSpec, random: Random) {
  // The split must not depend on the seed of the votes: results of several seeds are judged on the same prompts.
  const shuffled = new Random(4).shuffle(spec.prompts);
  const third = Math.floor(shuffled.length / 3);
  const wanted = Math.ceil(spec.votes / spec.replies);
  const pool = random.shuffle(shuffled.slice(third));
  if (pool.length === 0 || third === 0) {
    throw new RapportError(
      'evaluation/few-prompts',
      `${spec.prompts.length} prompts cannot be divided into votes and judging.`,
      'Give at least 3 prompts; 100 or more make useful intervals.',
    );
  }
  const train = Array.from({ length: wanted }, (_, i) => pool[i % pool.length]!);
  return { train, judged: shuffled.slice(0, Math.min(third, spec.judgedPrompts)) };
}

const questionOf = ({ instruction, input }: Instruction): string =>
  input ? `${instruction}\n\n${input}` : instruction;

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
