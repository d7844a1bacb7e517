// DPO (arXiv 2305.18290) on rankings: all pairs of a ranking, weighted 1/|P|, reference = the adapter off.
// Left out: sampling of pairs, a second copy of the model.
import { float32, int64, op, RapportError } from '@rapport/core';
import { crossEntropy } from '../losses/policy.ts';
import { dpoLoss, implicitRewards } from '../losses/preference.ts';
import type { Parameters } from '../optim/adamw.ts';
import { newAdapter } from './adapter.ts';
import type { LoraConfig } from './adapter.ts';
import { Course, stepsOver } from './course.ts';
import type { CourseLength, Keeping } from './course.ts';
import { tokensSpoken } from './guards.ts';
import type { Limits, Stop, Trained } from './guards.ts';
import { logprobOf } from './policy.ts';
import type { Policy } from './policy.ts';
import type { LossParts, PolicyOutputs } from './policy-graph.ts';
import { pairsOf } from './rankings.ts';
import type { EndWeights, Pair } from './rankings.ts';
import { plainReading, readingFeeds, readingOf } from './readings.ts';
import type { Reading } from './readings.ts';
import { largestRun, runsOf } from './rows.ts';
import type { TrunkRow } from './rows.ts';
import { endStep, mixText } from './step.ts';

export interface DpoConfig extends LoraConfig, Limits, CourseLength {
  /** How dear it is to move away from the reference. */
  readonly beta: number;
  /** 'sigmoid' is DPO, 'ipo' regresses h to 1/(2β) (arXiv 2310.12036). */
  readonly kind: 'sigmoid' | 'ipo';
  /** ε of cDPO: the share of judgements taken to be flipped. */
  readonly labelSmoothing: number;
  /**
   * κ of `tokenWeights`: by how much tokens that the reward model finds telling count more. 0 counts all alike, as DPO does
   * where nothing is known of them.
   */
  readonly focus: number;
  /** Divides every reply's log-ratio by its tokens, so that length alone wins nothing; β must grow with it. */
  readonly lengthNormalised: boolean;
  readonly lrPeak: number;
  /** Ranked prompts per optimiser step. */
  readonly promptsPerStep: number;
  /** Weight of the mean negative log-likelihood of the best reply (RPO, arXiv 2404.19733). */
  readonly chosenNll: number;
  readonly warmupSteps: number;
  readonly ptxBalance: number;
  readonly ptxRows: number;
  readonly seed: number;
}

export const dpoDefaults: DpoConfig = {
  beta: 0.05,
  kind: 'sigmoid',
  labelSmoothing: 0,
  focus: 0.7,
  lengthNormalised: false,
  lrPeak: 1e-3,
  epochs: 1,
  minSteps: 28,
  maxSteps: Infinity,
  promptsPerStep: 2,
  chosenNll: 0.2,
  warmupSteps: 3,
  ptxBalance: 0,
  ptxRows: 4,
  klStop: 3,
  lengthStop: 0.1,
  rank: 8,
  alpha: 16,
  seed: 0,
};

/** A ranking whose rows have their trunk output and what the reference says of them. */
export interface PreparedRanking {
  readonly rows: readonly TrunkRow[];
  /** log π_ref of each token of the reply, one array a row. */
  readonly refLogprobs: readonly Float32Array[];
  readonly ranks: readonly number[];
  /** What each token brought (`tokenScores`), one array a row, where a reward model tells tokens apart. */
  readonly scores?: readonly Float64Array[] | undefined;
  /** As in `Ranking`. */
  readonly ends?: readonly EndWeights[] | undefined;
}

export interface DpoRecord {
  readonly stage: 'dpo';
  readonly step: number;
  readonly of: number;
  readonly loss: number;
  /** Mean β·(ℓ_better − ℓ_worse). */
  readonly margin: number;
  /** Share of pairs in the right order by implicit reward. */
  readonly accuracy: number;
  /** Mean log π_ref − log π per token of the judged replies: KL(π_ref‖π) where the reference spoke them. */
  readonly kl: number;
  /** Share of the judged replies that the policy would speak before it ended them; NaN where their end is not known. */
  readonly spoken: number;
  readonly gradientNorm: number;
  readonly ptxRatio: number;
  readonly lr: number;
  readonly stopped?: Stop;
}

/** One ranking without the replies no pair speaks of, each of its n rows read as the better reply, then as the worse. */
interface Task {
  readonly rows: readonly TrunkRow[];
  readonly refSum: number;
  /** 2n: of row i at i and at n + i. */
  readonly readings: readonly Reading[];
  /** `worse` in n…2n. */
  readonly pairs: readonly Pair[];
  readonly best: readonly boolean[];
}

/**
 * Trains an adapter from zero, or from where `keeping` says; yields a record per step, returns the adapter. One more pass
 * over a batch only measures the last adapter; it has a record where that adapter must not be used.
 *
 * @throws RapportError `train/no-pairs`.
 */
export async function* trainDpo(
  policy: Policy,
  rankings: readonly PreparedRanking[],
  text: readonly TrunkRow[],
  config: DpoConfig = dpoDefaults,
  signal?: AbortSignal,
  keeping: Keeping = {},
): AsyncGenerator<DpoRecord, Trained> {
  const tasks = rankings.flatMap((ranking) => taskOf(ranking, config));
  if (tasks.length === 0) {
    throw new RapportError(
      'train/no-pairs',
      `None of the ${rankings.length} rankings prefers one reply to another.`,
      'Collect rankings in which at least one reply is better than another.',
    );
  }
  const course = new Course(keeping, config.seed, (random) =>
    newAdapter(policy.sites, config, random),
  );
  const { random, adapter } = course;
  const perEpoch = Math.ceil(tasks.length / config.promptsPerStep);
  const of = stepsOver(tasks.length, config.promptsPerStep, config);
  // In a large set every ranking counts; in a small one, seen again and again, steps of one size do.
  const fewest = perEpoch > config.minSteps ? 1 : config.promptsPerStep;
  const lossOf = (p: PolicyOutputs): LossParts => {
    const pairs = {
      better: p.input('better', 'int64', ['P']),
      worse: p.input('worse', 'int64', ['P']),
      weight: p.input('pairWeight', 'float32', ['P']),
    };
    const logratios = p.logratios('R');
    const preference = dpoLoss(logratios, pairs, config);
    const nll = crossEntropy(p.logprobs, p.input('textWeight', 'float32', ['N']));
    return { loss: op.add(preference, nll), results: { logratios, preference } };
  };
  const largest = largestRun(
    tasks.map(({ rows }) => rows),
    config.promptsPerStep,
    policy.budgetTokens,
  );
  const trainer = await policy.trainer(config.rank, lossOf, { largest });
  try {
    for (let step = course.step; step <= of; step++) {
      signal?.throwIfAborted();
      const batch = course.draw(tasks, config.promptsPerStep, fewest);
      const gradients: Parameters = new Map();
      let [loss, margin, right, count, drift, tokens, spoken] = [0, 0, 0, 0, 0, 0, 0];
      for (const run of runsOf(batch, ({ rows }) => rows, policy.budgetTokens)) {
        const { rows, refSum, pairs, feeds } = joined(run, batch.length, config);
        const out = await trainer.run(rows, adapter, feeds, gradients);
        loss += Number(out['preference']!.data[0]);
        const logratios = out['logratios']!.data as Float32Array;
        drift += refSum - logprobOf({ logprobs: out['logprobs']!.data as Float32Array });
        tokens += rows.reduce((n, { reply }) => n + reply.length, 0);
        spoken += tokensSpoken(out['ends'], rows);
        const rewards = implicitRewards(logratios, config.beta);
        for (const { better, worse } of pairs) {
          margin += rewards[better]! - rewards[worse]!;
          right += Number(rewards[better]! > rewards[worse]!);
          count++;
        }
      }
      const { ptxRatio } = await mixText(gradients, config, text, {
        trainer,
        adapter,
        random,
        idle: (rows) => ({
          ...readingFeeds(rows, [plainReading(rows[0]!, 0, 0)]),
          better: int64([1], [0]),
          worse: int64([1], [0]),
          pairWeight: float32([1], [0]),
        }),
      });
      const seen = { drift, spoken, tokens, loss };
      const ended = endStep(course, gradients, { step, of }, seen, config);
      const { stopped } = ended;
      if (step === of && !stopped) break;
      yield {
        stage: 'dpo',
        step: Math.min(step + 1, of),
        of,
        loss,
        margin: margin / count,
        accuracy: right / count,
        ptxRatio,
        ...ended,
      };
      if (stopped) return { adapter: course.good, stopped };
      await course.keep(step + 1);
    }
    return { adapter };
  } finally {
    await trainer.dispose();
  }
}

function taskOf(
  { rows, refLogprobs, ranks, scores, ends }: PreparedRanking,
  { focus, lengthNormalised }: DpoConfig,
): Task[] {
  const all = pairsOf(ranks);
  const kept = [...new Set(all.flatMap(({ better, worse }) => [better, worse]))].sort(
    (a, b) => a - b,
  );
  if (all.length === 0) return [];
  const top = Math.min(...kept.map((i) => ranks[i]!));
  const readings = (['better', 'worse'] as const).flatMap((side) =>
    kept.map((i, place) =>
      readingOf(place, {
        refLogprobs: refLogprobs[i]!,
        scores: scores?.[i],
        kappa: side === 'better' ? focus : -focus,
        weight: lengthNormalised ? 1 / rows[i]!.reply.length : 1,
        end: ends?.[i]?.[side] ?? 1,
      }),
    ),
  );
  return [
    {
      rows: kept.map((i) => rows[i]!),
      refSum: kept.reduce((sum, i) => sum + logprobOf({ logprobs: refLogprobs[i]! }), 0),
      readings,
      best: kept.map((i) => ranks[i] === top),
      pairs: all.map(({ better, worse }) => ({
        better: kept.indexOf(better),
        worse: kept.length + kept.indexOf(worse),
      })),
    },
  ];
}

/** Tasks of one run: their rows, what the reference says of them, their pairs among all readings, and what the loss reads. */
function joined(tasks: readonly Task[], prompts: number, config: DpoConfig) {
  const rows: TrunkRow[] = [];
  const readings: Reading[] = [];
  const pairs: (Pair & { weight: number })[] = [];
  const textWeight: number[] = [];
  for (const task of tasks) {
    const [row, reading] = [rows.length, readings.length];
    for (const { better, worse } of task.pairs) {
      const weight = 1 / task.pairs.length / prompts;
      pairs.push({ better: reading + better, worse: reading + worse, weight });
    }
    const bestTokens = task.rows.reduce(
      (n, { reply }, i) => n + (task.best[i] ? reply.length : 0),
      0,
    );
    const share = config.chosenNll / bestTokens / prompts;
    for (const [i, { reply }] of task.rows.entries()) {
      textWeight.push(...new Array<number>(reply.length).fill(task.best[i] ? share : 0));
    }
    readings.push(...task.readings.map((one) => ({ ...one, row: row + one.row })));
    rows.push(...task.rows);
  }
  const count = [pairs.length];
  const [better, worse, weight] = [
    pairs.map((pair) => pair.better),
    pairs.map((pair) => pair.worse),
    pairs.map((pair) => pair.weight),
  ];
  return {
    rows,
    refSum: tasks.reduce((sum, task) => sum + task.refSum, 0),
    pairs,
    feeds: {
      ...readingFeeds(rows, readings),
      better: int64(count, better),
      worse: int64(count, worse),
      pairWeight: float32(count, weight),
      textWeight: float32([textWeight.length], textWeight),
    },
  };
}
