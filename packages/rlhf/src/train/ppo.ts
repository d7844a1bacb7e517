// PPO-ptx (arXiv 1707.06347, 2203.02155 eq. 2): rollouts → scores with a KL leash → advantages → clipped updates
// with a mix of ordinary text, one optimiser step for both. RLOO and GRPO replace steps 3 and 4.
// Left out: a value model of its own depth; V is a linear head on the frozen base's states. GRPO's KL is in the reward,
// as everyone's here, and not in the loss as in its paper.
import { float32, op } from '@rapport/core';
import type { Adapter } from '@rapport/core';
import {
  adaptKlCoef,
  explainedVariance,
  gae,
  groupAdvantage,
  klEstimates,
  leaveOneOut,
  paidByToken,
  paidScore,
  tokenRewards,
  updateReport,
  whiten,
} from '../losses/advantage.ts';
import { crossEntropy, policyLoss, valueLoss } from '../losses/policy.ts';
import { AdamW, clipNorm } from '../optim/adamw.ts';
import type { AdamState, Parameters } from '../optim/adamw.ts';
import type { SampledReply, Speaker } from '../rollout/speaker.ts';
import { copyAdapter, parametersOf } from './adapter.ts';
import { Course } from './course.ts';
import type { CourseState, Keeping } from './course.ts';
import { stopFor } from './guards.ts';
import type { Limits, Stop, Trained } from './guards.ts';
import type { Policy, RowScore } from './policy.ts';
import { disagreement, featuresOf, rewardOf, tokenScores } from './reward.ts';
import type { RewardModel } from './reward.ts';
import { batchesOf } from './rows.ts';
import type { TrunkRow } from './rows.ts';
import { mixText } from './step.ts';

export interface PpoConfig extends Limits {
  readonly estimator: 'gae' | 'rloo' | 'grpo';
  readonly iterations: number;
  readonly promptsPerIteration: number;
  readonly repliesPerPrompt: number;
  readonly temperature: number;
  readonly maxTokens: number;
  readonly epochs: number;
  readonly minibatches: number;
  readonly lrPeak: number;
  readonly valueLr: number;
  readonly gamma: number;
  readonly lam: number;
  /**
   * Whether 'gae' is paid token by token where the reward model can tell what each brought: the same score, with far less
   * noise in the advantages.
   */
  readonly dense: boolean;
  /**
   * Whether 'gae' takes the mean score of the prompt's other replies from each score. A young V knows no level, and
   * where scores are above 0 on average whatever ends a reply is reinforced: replies shrink (docs/log.md).
   */
  readonly siblingBaseline: boolean;
  readonly clipRange: number;
  readonly valueClip: number;
  readonly valueCoef: number;
  /** β of the leash to the reference (the adapter off). */
  readonly klCoef: number;
  /** KL per reply that β is steered to (Ziegler et al. §2.2); 0 keeps β. */
  readonly klTarget: number;
  /** Replies over which β is steered. */
  readonly klHorizon: number;
  /** Decay of the moving average of the policy that is returned (InstructGPT: 0.992); 0 returns the policy. */
  readonly ema: number;
  readonly scoreClip: number;
  /** Deviations of the reward's heads by which a score is lowered (arXiv 2310.02743). */
  readonly caution: number;
  /** What is taken from the score of a reply that never ended. */
  readonly missingEndPenalty: number;
  /** Approximate KL to the policy that spoke beyond which an iteration makes no more updates. */
  readonly updateKlStop: number;
  readonly ptxBalance: number;
  readonly ptxRows: number;
  readonly seed: number;
}

export const ppoDefaults: PpoConfig = {
  estimator: 'gae',
  iterations: 2,
  promptsPerIteration: 8,
  repliesPerPrompt: 4,
  temperature: 1,
  maxTokens: 256,
  epochs: 1,
  minibatches: 2,
  lrPeak: 6e-4,
  valueLr: 3e-3,
  gamma: 1,
  lam: 1,
  dense: true,
  siblingBaseline: true,
  clipRange: 0.2,
  valueClip: 0.2,
  valueCoef: 0.1,
  klCoef: 0.01,
  klTarget: 0,
  klHorizon: 10_000,
  ema: 0,
  scoreClip: 5,
  caution: 0,
  missingEndPenalty: 1,
  klStop: 0.3,
  lengthStop: 0.25,
  updateKlStop: 0.05,
  ptxBalance: 0.2,
  ptxRows: 8,
  seed: 0,
};

export interface PpoRecord {
  readonly stage: 'ppo';
  readonly step: number;
  readonly of: number;
  /** Mean normalised score, before the leash. */
  readonly score: number;
  /** Mean reward of a reply: its score less β·KL. */
  readonly reward: number;
  /** Mean −log π of its own tokens, in nats: an estimate of the policy's entropy at its temperature. */
  readonly entropy: number;
  /** Mean deviation of the reward's heads: it grows where the policy leaves what people have judged. */
  readonly disagreement: number;
  /** k1 to the reference, per token and per reply. */
  readonly klToken: number;
  readonly klReply: number;
  readonly ended: number;
  readonly replyTokens: number;
  /** max |ρ − 1| on the first minibatch: 0 up to rounding, or the pipeline is wrong. */
  readonly firstRatioError: number;
  /** Share of tokens whose ρ, and whose V, was beyond its clip. */
  readonly clipFraction: number;
  readonly valueClipFraction: number;
  readonly updateKl: number;
  readonly explainedVariance: number;
  readonly valueLoss: number;
  readonly ptxRatio: number;
  readonly ptxLoss: number;
  /** ‖g_ptx‖ before it is scaled. */
  readonly ptxNorm: number;
  readonly gradientNorm: number;
  readonly tokensPerSecond: number;
  /** β of this iteration. */
  readonly klCoef: number;
  readonly stopped?: Stop;
}

/** One reply with everything an update needs; per-token arrays are as long as the reply. */
interface Experience {
  readonly row: TrunkRow;
  readonly score: number;
  /** What of the score is for how the reply ended. */
  readonly atEnd: number;
  readonly tokenScores: Float64Array | undefined;
  readonly disagreement: number;
  readonly logprobs: Float32Array;
  readonly refLogprobs: Float32Array;
  /** Standardised states at the predicting positions [n·D]. */
  readonly features: Float32Array;
  readonly values: number[];
  advantages: readonly number[];
  returns: readonly number[];
}

export interface PpoInputs {
  readonly policy: Policy;
  readonly speaker: Speaker;
  readonly reward: RewardModel;
  /** The adapter to start from; it is not changed. */
  readonly start: Adapter;
  readonly prompts: readonly (readonly number[])[];
  readonly text: readonly TrunkRow[];
  readonly now: () => number;
  readonly signal?: AbortSignal;
}

/** Progress between two iterations. */
export interface PpoState extends CourseState {
  readonly value: Parameters;
  readonly valueAdam: AdamState;
  readonly average: Parameters;
  readonly klCoef: number;
}

/**
 * Yields a record per iteration; returns the adapter, or after a stop the last one whose replies were good. What is
 * returned speaks once more at the end, one reply a prompt; that round has a record where it stops the run.
 */
export async function* trainPpo(
  inputs: PpoInputs,
  config: PpoConfig = ppoDefaults,
  keeping: Keeping<PpoState> = {},
): AsyncGenerator<PpoRecord, Trained> {
  const { policy, speaker, reward, text, signal } = inputs;
  const { resume, save } = keeping;
  const course = new Course({ resume }, config.seed + 17, () => copyAdapter(inputs.start), {
    epsilon: 1e-5,
  });
  const { adapter, adam } = course;
  const size = reward.mean.length;
  const value: Parameters = resume
    ? copyParameters(resume.value)
    : new Map([
        ['value.weight', new Float32Array(size)],
        ['value.bias', new Float32Array(1)],
      ]);
  const parameters = parametersOf(adapter);
  const valueAdam = new AdamW({ betas: [0.9, 0.99], epsilon: 1e-5 });
  const trainer = await policy.trainer(adapter.rank, (p) => {
    const n = (name: string) => p.input(name, 'float32', ['N']);
    const [weight, returns, oldValues] = [n('weight'), n('returns'), n('oldValues')];
    const weightOfV = p.input('value.weight', 'float32', [size, 1]);
    const biasOfV = p.input('value.bias', 'float32', [1]);
    const features = p.input('features', 'float32', ['N', size]);
    const values = op.add(op.squeeze(op.matmul(features, weightOfV), [1]), biasOfV);
    const push = policyLoss(
      p.logprobs,
      { oldLogprobs: n('oldLogprobs'), advantages: n('advantages'), weight },
      config.clipRange,
    );
    const worth = valueLoss(values, { oldValues, returns, weight }, config.valueClip);
    const nll = crossEntropy(p.logprobs, n('textWeight'));
    const loss = op.add(op.add(push, op.mul(worth, config.valueCoef)), nll);
    return { loss, parameters: [weightOfV, biasOfV], results: { push, worth, values } };
  });
  const feedsOf = (batch: readonly Experience[], tokens: number) => {
    const flat = (pick: (e: Experience) => ArrayLike<number>) => {
      const all = batch.flatMap((e) => Array.from(pick(e)));
      return float32([all.length], all);
    };
    const count = batch.reduce((n, e) => n + e.logprobs.length, 0);
    const features = new Float32Array(count * size);
    let at = 0;
    for (const e of batch) {
      features.set(e.features, at);
      at += e.features.length;
    }
    return {
      oldLogprobs: flat((e) => e.logprobs),
      advantages: flat((e) => e.advantages),
      returns: flat((e) => e.returns),
      oldValues: flat((e) => e.values),
      weight: float32([count], new Float32Array(count).fill(1 / tokens)),
      textWeight: float32([count], new Float32Array(count)),
      features: float32([count, size], features),
      'value.weight': float32([size, 1], value.get('value.weight')!),
      'value.bias': float32([1], value.get('value.bias')!),
    };
  };
  const idle = (rows: readonly TrunkRow[]) => {
    const blank = rows.map((row): Experience => {
      const n = row.reply.length;
      const none = new Array<number>(n).fill(0);
      return {
        row,
        score: 0,
        atEnd: 0,
        tokenScores: undefined,
        disagreement: 0,
        logprobs: new Float32Array(n),
        refLogprobs: new Float32Array(n),
        features: new Float32Array(n * size),
        values: none,
        advantages: none,
        returns: none,
      };
    });
    const { weight, ...feeds } = feedsOf(blank, 1);
    return { ...feeds, weight: float32(weight.shape, new Float32Array(weight.data.length)) };
  };

  if (resume) valueAdam.restore(resume.valueAdam);
  const average = copyParameters(resume?.average ?? parameters);
  let klCoef = resume?.klCoef ?? config.klCoef;
  try {
    for (let step = course.step; step <= config.iterations; step++) {
      signal?.throwIfAborted();
      const last = step === config.iterations;
      if (last && config.ema > 0) {
        for (const [name, data] of average) parameters.get(name)!.set(data);
      }
      const replies = last ? 1 : config.repliesPerPrompt;
      const prompts = course.draw(inputs.prompts, config.promptsPerIteration);

      // 1. Rollouts from the policy, nothing truncated.
      const started = inputs.now();
      const rollout = speaker.sample(prompts, {
        temperature: config.temperature,
        maxTokens: config.maxTokens,
        replies,
        seed: config.seed * 1000 + step + 1,
        adapter,
        ...(signal && { signal }),
      });
      let next = await rollout.next();
      while (!next.done) next = await rollout.next();
      const groups = next.value;
      const sampled = groups.flat();
      const tokens = sampled.reduce((n, { tokens: t }) => n + t.length, 0);
      const tokensPerSecond = (1000 * tokens) / (inputs.now() - started);

      // 2. Old and reference log-probabilities by the training graph, scores by the reward model.
      const rows = await policy.withTrunk(
        sampled.map(({ prompt, tokens: reply }) => ({ prompt, reply })),
        signal,
      );
      const options = { temperature: config.temperature, ...(signal && { signal }) };
      const old = await policy.score(rows, adapter, options);
      const ref = await policy.score(rows, null, options);
      const experience = rows.map((row, i): Experience => {
        const features = standardised(ref[i]!, reward);
        const values = valuesOf(features, value, size);
        const judged = featuresOf(ref[i]!);
        const score = rewardOf(reward, judged, config.caution);
        return {
          row,
          score: paidScore(score, sampled[i]!.ended, config),
          atEnd: paidScore(0, sampled[i]!.ended, config),
          tokenScores: config.dense ? tokenScores(reward, ref[i]!) : undefined,
          disagreement: disagreement(reward, judged),
          logprobs: old[i]!.logprobs,
          refLogprobs: ref[i]!.logprobs,
          features,
          values,
          advantages: [],
          returns: [],
        };
      });

      // 3.–4. Advantages, whitened over all reply tokens.
      estimate(experience, { ...config, klCoef, repliesPerPrompt: replies });

      // The policy that spoke is good, or the one before it is returned.
      const before = {
        klToken: klPerToken(experience),
        replyTokens: tokens / sampled.length,
        score: experience.reduce((s, e) => s + e.score, 0) / experience.length,
      };
      const { klToken: kl, replyTokens: length, score: worth } = before;
      let stopped = course.judge({ kl, length, worth }, config);
      if (last && !stopped) break;

      // 5.–6. Clipped updates, each with its share of ordinary text.
      const stats = {
        clipFraction: 0,
        valueClipFraction: 0,
        updateKl: 0,
        worth: 0,
        ptxRatio: 0,
        ptxLoss: 0,
        ptxNorm: 0,
        gradientNorm: 0,
        firstRatioError: NaN,
      };
      let [measured, updates] = [0, 0];
      let moved = false;
      const lr = config.lrPeak * (1 - step / config.iterations);
      for (let epoch = 0; epoch < config.epochs && !stopped && !moved; epoch++) {
        const shuffled = course.random.shuffle(experience);
        const each = Math.ceil(shuffled.length / config.minibatches);
        for (let at = 0; at < shuffled.length && !stopped; at += each) {
          signal?.throwIfAborted();
          const minibatch = shuffled.slice(at, at + each);
          const total = minibatch.reduce((n, e) => n + e.logprobs.length, 0);
          const gradients: Parameters = new Map();
          const fresh = { logprobs: [] as number[], values: [] as number[] };
          const past = { logprobs: [] as number[], values: [] as number[] };
          for (const batch of batchesOf(minibatch, (e) => e.row, policy.budgetTokens)) {
            const out = await trainer.run(
              batch.map((e) => e.row),
              adapter,
              feedsOf(batch, total),
              gradients,
              {
                temperature: config.temperature,
              },
            );
            for (const name of ['logprobs', 'values'] as const) {
              fresh[name].push(...(out[name]!.data as Float32Array));
              past[name].push(...batch.flatMap((e) => Array.from(e[name])));
            }
            stats.worth += Number(out['worth']!.data[0]);
          }
          const report = updateReport(fresh, past, config);
          if (measured++ === 0) stats.firstRatioError = report.ratioError;
          stats.clipFraction += report.clipFraction;
          stats.valueClipFraction += report.valueClipFraction;
          stats.updateKl += report.updateKl;
          moved = report.updateKl > config.updateKlStop;
          if (moved) break;
          const ofValue: Parameters = new Map([...value.keys()].map((k) => [k, gradients.get(k)!]));
          for (const key of value.keys()) gradients.delete(key);
          const mixed = await mixText(gradients, config, text, {
            trainer,
            adapter,
            random: course.random,
            idle,
          });
          const gradientNorm = clipNorm(gradients, 1);
          stopped = stopFor(gradientNorm, clipNorm(ofValue, 1));
          stats.gradientNorm += gradientNorm;
          if (stopped) break;
          adam.step(parameters, gradients, lr);
          valueAdam.step(value, ofValue, config.valueLr);
          follow(average, parameters, config.ema);
          stats.ptxRatio += mixed.ptxRatio;
          stats.ptxLoss += mixed.ptxLoss;
          stats.ptxNorm += mixed.ptxNorm;
          updates++;
        }
      }

      // 7. The leash is adapted, progress kept, the iteration reported.
      const klReply = before.klToken * before.replyTokens;
      const usedKlCoef = klCoef;
      if (config.klTarget > 0) {
        const rule = { target: config.klTarget, horizon: config.klHorizon };
        klCoef = adaptKlCoef(klCoef, klReply, { ...rule, replies: sampled.length });
      }
      if (!stopped) {
        await save?.({
          ...course.state(step + 1),
          value: copyParameters(value),
          valueAdam: valueAdam.state(),
          average: copyParameters(average),
          klCoef,
        });
      }
      const mean = (x: number, count = updates) => x / Math.max(1, count);
      const all = (pick: (e: Experience) => readonly number[]) =>
        experience.flatMap((e) => [...pick(e)]);
      yield {
        stage: 'ppo',
        step: Math.min(step + 1, config.iterations),
        of: config.iterations,
        ...before,
        disagreement: experience.reduce((sum, e) => sum + e.disagreement, 0) / experience.length,
        klReply,
        klCoef: usedKlCoef,
        ended: sampled.filter((s: SampledReply) => s.ended).length / sampled.length,
        firstRatioError: stats.firstRatioError,
        reward: before.score - usedKlCoef * klReply,
        entropy: -all((e) => [...e.logprobs]).reduce((a, b) => a + b, 0) / tokens,
        clipFraction: mean(stats.clipFraction, measured),
        valueClipFraction: mean(stats.valueClipFraction, measured),
        updateKl: mean(stats.updateKl, measured),
        explainedVariance: explainedVariance(
          all((e) => e.values),
          all((e) => e.returns),
        ),
        valueLoss: mean(stats.worth, measured),
        ptxRatio: mean(stats.ptxRatio),
        ptxLoss: mean(stats.ptxLoss),
        ptxNorm: mean(stats.ptxNorm),
        gradientNorm: mean(stats.gradientNorm),
        tokensPerSecond,
        ...(stopped && { stopped }),
      };
      if (stopped) return { adapter: course.good, stopped };
    }
    return { adapter };
  } finally {
    await trainer.dispose();
  }
}

const copyParameters = (parameters: Parameters): Parameters =>
  new Map([...parameters].map(([name, data]) => [name, data.slice()]));

/** average ← ema·average + (1 − ema)·parameters, in place. */
function follow(average: Parameters, parameters: Parameters, ema: number): void {
  for (const [name, to] of parameters) {
    average.get(name)!.forEach((x, i, all) => (all[i] = ema * x + (1 - ema) * to[i]!));
  }
}

/** Fills in advantages (whitened) and returns. */
function estimate(experience: readonly Experience[], config: PpoConfig): void {
  const perPrompt = <T>(all: readonly T[], of: (siblings: readonly T[]) => readonly number[]) =>
    Array.from({ length: all.length / config.repliesPerPrompt }, (_, p) =>
      of(all.slice(p * config.repliesPerPrompt, (p + 1) * config.repliesPerPrompt)),
    ).flat();
  if (config.estimator === 'gae') {
    const scores = experience.map(({ score }) => score);
    const centred = config.siblingBaseline ? perPrompt(scores, leaveOneOut) : scores;
    const estimates = experience.map((e, i) => {
      const paid = e.tokenScores ? paidByToken(centred[i]!, e.tokenScores, e.atEnd) : centred[i]!;
      const rewards = tokenRewards(e.logprobs, e.refLogprobs, paid, config.klCoef);
      return gae(rewards, e.values, config.gamma, config.lam);
    });
    const white = whiten(estimates.map((x) => x.advantages));
    experience.forEach((e, i) => {
      e.advantages = white[i]!;
      e.returns = estimates[i]!.returns;
    });
    return;
  }
  const baseline = config.estimator === 'rloo' ? leaveOneOut : groupAdvantage;
  const whole = experience.map(
    (e) => e.score - config.klCoef * klEstimates(e.logprobs, e.refLogprobs).k1,
  );
  const advantages = perPrompt(whole, baseline);
  const scale = 1 / Math.sqrt(advantages.reduce((s, a) => s + a * a, 0) / advantages.length + 1e-8);
  experience.forEach((e, i) => {
    e.advantages = Array.from(e.logprobs, () => advantages[i]! * scale);
    e.returns = Array.from(e.values);
  });
}

function klPerToken(experience: readonly Experience[]): number {
  let [kl, tokens] = [0, 0];
  for (const { logprobs, refLogprobs } of experience) {
    kl += klEstimates(logprobs, refLogprobs).k1;
    tokens += logprobs.length;
  }
  return kl / tokens;
}

/** The states before each token of a reply, standardised as the reward model does. */
function standardised(
  { hidden, tokens }: RowScore,
  { mean, deviation }: RewardModel,
): Float32Array {
  const size = mean.length;
  const width = hidden.length / (tokens + 1);
  const out = new Float32Array(tokens * size);
  for (let t = 0; t < tokens; t++) {
    for (let i = 0; i < size; i++) {
      const x = (hidden[t * width + i]! - mean[i]!) / deviation[i]!;
      out[t * size + i] = Math.max(-10, Math.min(10, x)) / Math.sqrt(size);
    }
  }
  return out;
}

function valuesOf(features: Float32Array, value: Parameters, size: number): number[] {
  const weight = value.get('value.weight')!;
  const bias = value.get('value.bias')![0]!;
  return Array.from({ length: features.length / size }, (_, t) => {
    let sum = bias;
    for (let i = 0; i < size; i++) sum += features[t * size + i]! * weight[i]!;
    return sum;
  });
}
