// The whole of it: rankings → reward model → DPO warm start on the same rankings → PPO-ptx against the reward
// model, leashed to the reference → what can be measured without a person. Stages resume from their checkpoints.
import { Random } from '@rapport/core';
import type { Adapter, Checkpoint, Runtime } from '@rapport/core';
import { paidScore } from '../losses/advantage.ts';
import { Speaker } from '../rollout/speaker.ts';
import { newAdapter, shrinkAdapter } from './adapter.ts';
import type { CourseState, Keeping } from './course.ts';
import type { Stop, Trained } from './guards.ts';
import { MOST_TEXT } from './demonstrations.ts';
import { dpoDefaults, trainDpo } from './dpo.ts';
import type { DpoConfig, DpoRecord, PreparedRanking } from './dpo.ts';
import { ktoDefaults, rankOf, thumbGroups, trainKto } from './kto.ts';
import type { KtoConfig, KtoRecord, Thumb } from './kto.ts';
import { logprobOf, Policy } from './policy.ts';
import type { PolicyOptions, RowScore, RowStates } from './policy.ts';
import type { AdapterPlace } from './policy-graph.ts';
import { ppoDefaults, trainPpo } from './ppo.ts';
import type { PpoConfig, PpoRecord, PpoState } from './ppo.ts';
import { pairsOf, withFairEnds, withoutCommonEnds } from './rankings.ts';
import type { Ranking } from './rankings.ts';
import { nll, nllGrowth, NLL_LIMIT, scaleWithin } from './scale-within.ts';
import { featuresOf, rewardOf, tellsTokens, tokenScores, trainReward } from './reward.ts';
import type { RankedReplies, ReplyFeatures, RewardModel, RewardOptions } from './reward.ts';
import type { RewardReport } from '../evaluation/reward-report.ts';
import { promptKey } from './rows.ts';
import type { Row, TrunkRow } from './rows.ts';
import { sftDefaults, trainSft } from './sft.ts';
import type { SftConfig, SftRecord, SftState } from './sft.ts';

export type PipelineMethod = 'ppo' | 'rloo' | 'dpo' | 'kto' | 'sft' | 'bestofn';

export interface PipelineSpec {
  readonly rankings: readonly Ranking[];
  /** Documents for the mix (ptx), independent of the votes: `documentRow`s, or they teach a style of answering. */
  readonly text: readonly Row[];
  /** Answers by people, apart from `text`: NLL is measured on them, and the reward model gives them 0 on average. */
  readonly heldOutText: readonly Row[];
  /** Prompts to roll out on; by default those of the rankings. */
  readonly prompts?: readonly (readonly number[])[];
  /** For 'sft': rows to learn from beside the best reply of each ranking, or alone: then there is no reward model. */
  readonly demonstrations?: readonly Row[];
  /** Votes on single replies that are in no ranking. */
  readonly thumbs?: readonly Thumb[];
  /**
   * 'ppo' and 'rloo' follow a warm start by DPO, or by KTO where thumbs outnumber ranked replies; 'dpo' stands
   * alone; so does 'kto', which reads thumbs and the best and worst of each ranking; 'sft' learns the best reply
   * of each ranking; 'bestofn' leaves the policy alone and only trains the reward model.
   */
  readonly method: PipelineMethod;
  /** The most that held-out NLL may grow, relatively: an adapter that costs more is scaled down. 0.03 by default. */
  readonly nllLimit?: number;
  readonly seed: number;
  /** Which layers and linears the adapter changes; by default all linears of the upper half. */
  readonly place?: Partial<AdapterPlace>;
  /** How the frozen base is held while it is trained on; fp32 by default. */
  readonly base?: PolicyOptions['base'];
  readonly reward?: RewardOptions;
  readonly dpo?: Partial<DpoConfig>;
  readonly ppo?: Partial<PpoConfig>;
  readonly kto?: Partial<KtoConfig>;
  readonly sft?: Partial<SftConfig>;
}

/** Rows of ordinary text that NLL is measured on: more would only take longer. */
const MOST_HELD_OUT = 40;
/** By how much an adapter is turned down until it is sound. */
const UNSOUND = [1, 0.85, 0.7, 0.55];
/** How the checkpoints of SFT are rated: replies to prompts kept apart. */
const RATED = { prompts: 8, replies: 2, maxTokens: 128, temperature: 1 };

/** What the pipeline needs from where it runs. */
export interface Platform {
  readonly checkpoint: Checkpoint;
  readonly runtime: Runtime;
  readonly endOfTurn: number;
  /** What layers may keep for the backward pass; unlimited by default. */
  readonly activationBytes?: number;
  /** Milliseconds. */
  readonly now: () => number;
  /** Whether an adapter still answers as it must; asked at the end, with the adapter that would be returned. */
  readonly isSound?: (adapter: Adapter) => Promise<boolean>;
  /** What an earlier attempt had finished, if any. */
  readonly resume?: PipelineCheckpoint;
  /** Called after each step of a stage with everything needed to go on from there. */
  readonly save?: (checkpoint: PipelineCheckpoint) => Promise<void>;
}

export interface PipelineCheckpoint {
  readonly reward?: RewardModel;
  readonly warmStart?: Adapter;
  readonly adapter?: Adapter;
  /** Why the last of these is not what its method came to in the end. */
  readonly stopped?: Stop | undefined;
  /** Where the stage after these stood. */
  readonly course?: CourseState;
}

export type PipelineRecord =
  | {
      readonly stage: 'prepare' | 'reward' | 'measure';
      readonly step: number;
      readonly of: number;
      readonly rewardAccuracy?: number;
      readonly pairs?: number;
    }
  | DpoRecord
  | KtoRecord
  | SftRecord
  | PpoRecord;

export interface PipelineResult {
  readonly adapter: Adapter;
  readonly warmStart: Adapter;
  /** None where demonstrations alone were learned from. */
  readonly reward?: RewardModel;
  /** Why training ended early: `adapter` is the last one that was good, and no later stage was begun. */
  readonly stopped?: Stop;
  readonly measures: {
    /** Relative change of the mean negative log-likelihood of held-out ordinary text. */
    readonly nllChange: number;
    /** By how much the adapter was scaled to stay within `nllLimit` and to be sound; 1 is not at all. */
    readonly scale: number;
    readonly rewardModelAccuracy?: number;
    /** The whole report on held-out pairs. */
    readonly rewardModel?: RewardReport;
    readonly pairs: number;
    readonly tokensTrained: number;
    readonly seconds: number;
  };
}

/** Runs the stages; yields their records, returns the adapter with its reward model and measures. */
export async function* runPipeline(
  spec: PipelineSpec,
  platform: Platform,
  signal?: AbortSignal,
): AsyncGenerator<PipelineRecord, PipelineResult> {
  const started = platform.now();
  const { checkpoint, runtime, endOfTurn } = platform;
  const { activationBytes = Infinity } = platform;
  const policy = new Policy(checkpoint, runtime, {
    activationBytes,
    endOfTurn,
    place: spec.place,
    ...(spec.base && { base: spec.base }),
  });
  const options = signal ? { signal } : {};
  try {
    yield { stage: 'prepare', step: 0, of: 3 };
    const text = await policy.withTrunk(spec.text.slice(0, MOST_TEXT), signal);
    const heldOut = await policy.withTrunk(spec.heldOutText.slice(0, MOST_HELD_OUT), signal);
    yield { stage: 'prepare', step: 1, of: 3 };
    const telling = spec.rankings.filter(({ ranks }) => pairsOf(ranks).length > 0);
    // Where none tells anything, what learns from them says so.
    const read = telling.length > 0 ? telling : spec.rankings;
    // SFT copies the best reply, its end included; the others compare.
    const rankings = spec.method === 'sft' ? read : withFairEnds(read, endOfTurn);
    const flat = rankings.flatMap(({ prompt, replies }) =>
      replies.map((reply): Row => ({ prompt, reply })),
    );
    const rows = await policy.withTrunk(flat, signal);
    yield { stage: 'prepare', step: 2, of: 3 };
    const seen = await policy.scoresAs(rows, null, seenIn, options);
    const answers = await policy.scoresAs(heldOut, null, seenIn, options);
    const prepared = regroup(rankings, rows, seen);
    const fair = withoutCommonEnds(spec.thumbs ?? [], endOfTurn);
    const thumbs = await policy.withTrunk(fair, signal);
    const compared = [...prepared, ...(await comparedThumbs(policy, thumbs, signal))];
    yield { stage: 'prepare', step: 3, of: 3 };

    // What an attempt takes over is not saved again: the state it came from holds more.
    const { resume } = platform;
    const reward = resume?.reward ?? rewardFrom(compared, answers, spec);
    if (reward && !resume?.reward) await platform.save?.({ reward });
    const rewardModel = reward?.heldOut;
    const pairs = rewardModel?.pairs ?? 0;
    if (rewardModel) {
      yield { stage: 'reward', step: 1, of: 1, rewardAccuracy: rewardModel.accuracy, pairs };
    }

    const first: Trained = resume?.warmStart
      ? { adapter: resume.warmStart, ...(resume.stopped && { stopped: resume.stopped }) }
      : yield* firstAdapter(
          { ...spec, thumbs },
          platform,
          { policy, prepared, text, reward },
          signal,
        );
    const { adapter: warmStart } = first;
    if (!resume?.warmStart) await platform.save?.({ reward, warmStart, stopped: first.stopped });

    let trained: Trained = { ...first, adapter: resume?.adapter ?? warmStart };
    const reinforced = reinforces(spec.method);
    if (reward && reinforced && !resume?.adapter && !first.stopped) {
      const speaker = await Speaker.create(checkpoint, runtime, {
        endOfTurn,
        fromLayer: policy.place.fromLayer,
      });
      try {
        const estimator = spec.method === 'rloo' ? 'rloo' : 'gae';
        const judged = [...spec.rankings, ...(spec.thumbs ?? [])];
        const prompts = spec.prompts ?? distinct(judged.map(({ prompt }) => prompt));
        trained = yield* trainPpo(
          {
            policy,
            speaker,
            reward,
            start: warmStart,
            prompts,
            text,
            now: platform.now,
            ...options,
          },
          { ...ppoDefaults, estimator, seed: spec.seed, ...spec.ppo },
          keepingOf<PpoState>(platform, { reward, warmStart }),
        );
      } finally {
        await speaker.dispose();
      }
      await platform.save?.({ reward, warmStart, ...trained });
    }
    const { adapter, stopped } = trained;

    yield { stage: 'measure', step: 0, of: 1 };
    const before = nll(answers.map(logprobOf));
    const costOf = nllGrowth(policy, adapter, { text: heldOut, before }, signal);
    const allowed = await scaleWithin(spec.nllLimit ?? NLL_LIMIT, costOf);
    const sizes = UNSOUND.map((factor) => {
      const scale = factor * allowed.scale;
      return { scale, adapter: scale === 1 ? adapter : shrinkAdapter(adapter, scale) };
    });
    const isSound = async (one: { adapter: Adapter }) =>
      (await platform.isSound?.(one.adapter)) ?? true;
    // Where nothing helps it stays as it is: the gate will say so.
    const turned = (await firstOf(sizes, isSound)) ?? sizes[0]!;
    const { scale } = turned;
    const nllChange = scale === allowed.scale ? allowed.cost : await costOf(scale);
    yield { stage: 'measure', step: 1, of: 1 };
    return {
      adapter: turned.adapter,
      warmStart,
      ...(reward && { reward }),
      ...(stopped && { stopped }),
      measures: {
        nllChange,
        scale,
        ...(rewardModel && { rewardModelAccuracy: rewardModel.accuracy, rewardModel }),
        pairs,
        tokensTrained: policy.tokensTrained,
        seconds: (platform.now() - started) / 1000,
      },
    };
  } finally {
    await policy.dispose();
  }
}

/** Whether a method goes on from its warm start by reinforcement. */
export const reinforces = (method: PipelineMethod): boolean =>
  method === 'ppo' || method === 'rloo';

type Prepared = PreparedRanking & RankedReplies;

/** Rankings with what the reward model finds in each token: the base reads their rows once more, since states are not kept. */
async function withCredit(
  prepared: readonly Prepared[],
  reward: RewardModel,
  policy: Policy,
  signal?: AbortSignal,
): Promise<Prepared[]> {
  const scoresOf = (states: RowStates) => tokenScores(reward, states);
  const scored: Prepared[] = [];
  for (const ranking of prepared) {
    const scores = await policy.statesAs(ranking.rows, scoresOf, signal);
    scored.push({ ...ranking, scores: scores.filter((one) => one !== undefined) });
  }
  return scored;
}

/** What was compared, as a reward model; none where demonstrations alone are learned from. */
function rewardFrom(
  compared: readonly RankedReplies[],
  answers: readonly Seen[],
  { method, demonstrations = [], seed, reward }: PipelineSpec,
): RewardModel | undefined {
  if (method === 'sft' && compared.length === 0 && demonstrations.length > 0) return undefined;
  return trainReward(
    compared,
    answers.map(({ features }) => features),
    { seed, ...reward },
  );
}

/** A stage saves where it stands beside what earlier stages made, and goes on if it is the one that was stopped. */
function keepingOf<S extends CourseState>(
  { resume, save }: Platform,
  made: PipelineCheckpoint,
): Keeping<S> {
  const mine = resume && (resume.warmStart !== undefined) === (made.warmStart !== undefined);
  return {
    ...(mine && { resume: resume.course as S | undefined }),
    ...(save && { save: (course: S) => save({ ...made, course }) }),
  };
}

/** What votes alone teach: the warm start of reinforcement, or the whole method. */
async function* firstAdapter(
  spec: PipelineSpec,
  platform: Platform,
  made: {
    readonly policy: Policy;
    readonly prepared: readonly Prepared[];
    readonly text: readonly TrunkRow[];
    readonly reward: RewardModel | undefined;
  },
  signal?: AbortSignal,
): AsyncGenerator<DpoRecord | KtoRecord | SftRecord, Trained> {
  const { seed } = spec;
  const { policy, prepared, text, reward } = made;
  const keeping = keepingOf(platform, { reward });
  const reinforced = reinforces(spec.method);
  const { thumbs: alone = [] } = spec;
  if (spec.method === 'kto' || (reinforced && alone.length > rowCount(prepared))) {
    const thumbs = [...alone, ...extremes(prepared)];
    const config = { ...ktoDefaults, seed, ...spec.kto };
    return yield* trainKto(policy, thumbs, text, config, signal, keeping, reward);
  }
  if (spec.method === 'sft') {
    const best = extremes(prepared).filter(({ good }) => good);
    const shown = await policy.withTrunk(spec.demonstrations ?? [], signal);
    const config = { ...sftDefaults, seed, ...spec.sft };
    const judge = await judgeOf(spec, platform, made, signal);
    try {
      return yield* trainSft(policy, [...best, ...shown], config, {
        signal,
        keeping: keepingOf<SftState>(platform, { reward }),
        ...(judge && { rate: judge.rate }),
      });
    } finally {
      await judge?.dispose();
    }
  }
  if (spec.method === 'bestofn') {
    return { adapter: newAdapter(policy.sites, dpoDefaults, new Random(seed)) };
  }
  const config = { ...dpoDefaults, seed, ...spec.dpo };
  const credited =
    reward && config.focus > 0 && tellsTokens(reward)
      ? await withCredit(prepared, reward, policy, signal)
      : prepared;
  return yield* trainDpo(policy, credited, text, config, signal, keeping);
}

/** Rates adapters by the reward of their replies to prompts of held-out text, where there are both. */
async function judgeOf(
  { heldOutText, seed }: PipelineSpec,
  { checkpoint, runtime, endOfTurn }: Platform,
  { policy, reward }: { readonly policy: Policy; readonly reward: RewardModel | undefined },
  signal?: AbortSignal,
) {
  const prompts = heldOutText.slice(0, RATED.prompts).map(({ prompt }) => prompt);
  if (!reward || prompts.length === 0) return undefined;
  const { fromLayer } = policy.place;
  const speaker = await Speaker.create(checkpoint, runtime, { endOfTurn, fromLayer });
  const options = { ...RATED, seed, ...(signal && { signal }) };
  return {
    async rate(adapter: Adapter): Promise<number> {
      const run = speaker.sample(prompts, { ...options, adapter });
      let next = await run.next();
      while (!next.done) next = await run.next();
      const replies = next.value.flat();
      const rows = replies.map(({ prompt, tokens }) => ({ prompt, reply: tokens }));
      const read = await policy.statesAs(await policy.withTrunk(rows, signal), featuresOf, signal);
      const paid = read.map((features, i) =>
        paidScore(rewardOf(reward, features), replies[i]!.ended, ppoDefaults),
      );
      return paid.reduce((a, b) => a + b, 0) / paid.length;
    },
    dispose: () => speaker.dispose(),
  };
}

async function firstOf<T>(
  all: readonly T[],
  fits: (one: T) => Promise<boolean>,
): Promise<T | undefined> {
  for (const one of all) if (await fits(one)) return one;
  return undefined;
}

const rowCount = (prepared: readonly PreparedRanking[]): number =>
  prepared.reduce((sum, { rows }) => sum + rows.length, 0);

const distinct = (prompts: readonly (readonly number[])[]): (readonly number[])[] => [
  ...new Map(prompts.map((prompt) => [promptKey({ prompt }), prompt])).values(),
];

/** The best and worst replies of every ranking that decides anything. */
function extremes(prepared: readonly PreparedRanking[]): (Thumb & TrunkRow)[] {
  return prepared.flatMap(({ rows, ranks }) => {
    const [best, worst] = [Math.min(...ranks), Math.max(...ranks)];
    if (best === worst) return [];
    return rows.flatMap((row, i) =>
      ranks[i] === best || ranks[i] === worst ? [{ ...row, good: ranks[i] === best }] : [],
    );
  });
}

/** Thumbs as rankings of a few replies each, good ones before bad ones, for the reward model. */
async function comparedThumbs(
  policy: Policy,
  thumbs: readonly (Thumb & TrunkRow)[],
  signal?: AbortSignal,
): Promise<RankedReplies[]> {
  const features = await policy.statesAs(thumbs, featuresOf, signal);
  const seen = thumbs.map(({ good }, i) => ({ good, features: features[i]! }));
  return thumbGroups(seen).map((group) => ({
    replies: group.map((one) => one.features),
    ranks: group.map(rankOf),
    acrossPrompts: true,
  }));
}

/** What is kept of a reply as the reference sees it: its states would fill the memory. */
interface Seen {
  readonly features: ReplyFeatures;
  readonly logprobs: Float32Array;
}

const seenIn = (score: RowScore): Seen => ({
  features: featuresOf(score),
  logprobs: score.logprobs,
});

/** Rankings with their rows and what was seen of each. */
function regroup(
  rankings: readonly Ranking[],
  rows: readonly TrunkRow[],
  seen: readonly Seen[],
): Prepared[] {
  let at = 0;
  return rankings.map(({ prompt, replies, ranks, ends }) => {
    const [start, end] = [at, (at += replies.length)];
    const mine = seen.slice(start, end);
    return {
      rows: rows.slice(start, end),
      replies: mine.map(({ features }) => features),
      refLogprobs: mine.map(({ logprobs }) => logprobs),
      ranks,
      ends,
      prompt: promptKey({ prompt }),
    };
  });
}
