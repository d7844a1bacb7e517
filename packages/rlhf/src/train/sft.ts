// Supervised fine-tuning on replies: L = Σ mask·CE / Σ mask over the whole accumulated batch, the mask on
// reply tokens with their end of turn (InstructGPT, arXiv 2203.02155 §3.5 and C.1: cosine to 10 %, residual dropout
// 0.2, 16 epochs, the checkpoint that the reward model likes best). On the best reply of each ranking it is
// rejection-sampling SFT. Left out: weight decay, batches of 32.
import { float32 } from '@rapport/core';
import type { Adapter } from '@rapport/core';
import { crossEntropy } from '../losses/policy.ts';
import type { Parameters } from '../optim/adamw.ts';
import { rateAt } from '../optim/schedule.ts';
import { copyAdapter, newAdapter } from './adapter.ts';
import type { LoraConfig } from './adapter.ts';
import { Course } from './course.ts';
import type { CourseState, Keeping } from './course.ts';
import { tokensSpoken } from './guards.ts';
import type { Limits, Stop, Trained } from './guards.ts';
import { logprobOf } from './policy.ts';
import type { Policy } from './policy.ts';
import { batchesOf, lengthOf, packByRoom } from './rows.ts';
import type { TrunkRow } from './rows.ts';
import { advance } from './step.ts';

export interface SftConfig extends LoraConfig, Limits {
  readonly lrPeak: number;
  /** By default 16 on small sets, which overfit in loss and still improve, and 3 on others. */
  readonly epochs?: number;
  /** Rows per optimiser step. */
  readonly batch: number;
  readonly warmupSteps: number;
  /** Share of what attention and feed-forward add that is dropped while training. */
  readonly residualDropout: number;
  /** Share of what the adapter reads that is dropped, as PEFT's `lora_dropout`. */
  readonly loraDropout: number;
  /** Rows one after another in a sequence instead of side by side with padding: for lengths that differ much. */
  readonly packing: boolean;
  /** Epochs between two ratings, where there is something to rate by. */
  readonly rateEvery: number;
  readonly seed: number;
}

export const sftDefaults: SftConfig = {
  lrPeak: 1e-3,
  batch: 16,
  warmupSteps: 3,
  residualDropout: 0.2,
  loraDropout: 0,
  packing: false,
  rateEvery: 4,
  klStop: 1,
  lengthStop: 0.2,
  rank: 8,
  alpha: 16,
  seed: 0,
};

/** Up to so many rows a set is small. */
const SMALL_SET = 500;
const PADDED_TOKENS = 1024;
/** Attention grows with the square of a packed sequence. */
const PACKED_TOKENS = 512;

export interface SftRecord {
  readonly stage: 'sft';
  readonly step: number;
  readonly of: number;
  /** Mean negative log-likelihood per reply token, in nats, under dropout. */
  readonly loss: number;
  /** By how much that lead over the same of the reference has grown since the first step, which takes dropout's part out. */
  readonly kl: number;
  /** Share of the replies that the policy would speak before it ended them; NaN where their end is not known. */
  readonly spoken: number;
  readonly gradientNorm: number;
  readonly lr: number;
  /** What the adapter is worth after this step, where it was rated. */
  readonly rating?: number;
  readonly stopped?: Stop;
}

/** An adapter and what it was rated. */
interface Rated {
  readonly adapter: Adapter;
  readonly rating: number;
}

export interface SftState extends CourseState {
  readonly best?: Rated;
  /** Loss over that of the reference in the first step. */
  readonly firstLead?: number | undefined;
}

export interface SftExtras {
  readonly signal?: AbortSignal | undefined;
  readonly keeping?: Keeping<SftState>;
  /** What an adapter is worth, larger is better: the reward of its replies to prompts kept apart. */
  readonly rate?: (adapter: Adapter) => Promise<number>;
}

/**
 * Trains an adapter from zero, or from where `keeping` says; yields a record per step. Returns the best rated
 * adapter, or without `rate` the last. One more pass over a batch only measures the last adapter; it has a record where
 * that adapter must not be used.
 */
export async function* trainSft(
  policy: Policy,
  rows: readonly TrunkRow[],
  config: SftConfig = sftDefaults,
  { signal, keeping = {}, rate }: SftExtras = {},
): AsyncGenerator<SftRecord, Trained> {
  const { resume, save, everySteps = 1 } = keeping;
  const course = new Course({ resume }, config.seed, (random) =>
    newAdapter(policy.sites, config, random),
  );
  const { adapter, random } = course;
  const refSums = await policy.scoresAs(rows, null, logprobOf, { signal });
  const tasks = rows.map((row, i) => ({ row, refSum: refSums[i]! }));
  const perEpoch = Math.ceil(rows.length / config.batch);
  const of = perEpoch * (config.epochs ?? (rows.length <= SMALL_SET ? 16 : 3));
  let best = resume?.best;
  let firstLead = resume?.firstLead;
  const trainer = await policy.trainer(
    config.rank,
    (p) => ({ loss: crossEntropy(p.logprobs, p.input('textWeight', 'float32', ['N'])) }),
    {
      dropout: { lora: config.loraDropout, residual: config.residualDropout },
      largest: { batch: 1, width: config.packing ? PACKED_TOKENS : PADDED_TOKENS },
    },
  );
  try {
    for (let step = course.step; step <= of; step++) {
      signal?.throwIfAborted();
      const drawn = course.draw(tasks, config.batch, 1);
      const batch = drawn.map(({ row }) => row);
      const tokens = batch.reduce((n, { reply }) => n + reply.length, 0);
      const gradients: Parameters = new Map();
      let [loss, spoken] = [0, 0];
      for (const part of partsOf(batch, config)) {
        const count = part.reduce((n, { reply }) => n + reply.length, 0);
        const textWeight = float32([count], new Float32Array(count).fill(1 / tokens));
        const options = { packed: config.packing, random };
        const out = await trainer.run(part, adapter, { textWeight }, gradients, options);
        loss += Number(out['loss']!.data[0]);
        spoken += tokensSpoken(out['ends'], part);
      }
      const schedule = { kind: 'cosine', warmup: config.warmupSteps, steps: of } as const;
      const lr = step < of ? config.lrPeak * rateAt(step, schedule) : 0;
      const lead = loss + drawn.reduce((sum, { refSum }) => sum + refSum, 0) / tokens;
      firstLead ??= lead;
      const kl = lead - firstLead;
      const measured = { kl, length: spoken / tokens, worth: loss };
      const { gradientNorm, stopped } = advance(course, gradients, lr, {
        measured,
        limits: config,
      });
      if (step === of && !stopped) break;

      const done = Math.min(step + 1, of);
      let rating: number | undefined;
      if (rate && !stopped && (done % (perEpoch * config.rateEvery) === 0 || done === of)) {
        rating = await rate(adapter);
        if (!best || rating > best.rating) best = { adapter: copyAdapter(adapter), rating };
      }
      yield {
        stage: 'sft',
        step: done,
        of,
        loss,
        kl,
        spoken: measured.length,
        gradientNorm,
        lr,
        ...(rating !== undefined && { rating }),
        ...(stopped && { stopped }),
      };
      if (stopped) return { adapter: course.good, stopped };
      if (done % everySteps === 0)
        await save?.({ ...course.state(done), firstLead, ...(best && { best }) });
    }
    return { adapter: best?.adapter ?? adapter };
  } finally {
    await trainer.dispose();
  }
}

const partsOf = (batch: readonly TrunkRow[], { packing }: SftConfig): TrunkRow[][] =>
  packing
    ? packByRoom(batch, lengthOf, PACKED_TOKENS)
    : batchesOf(batch, (row) => row, PADDED_TOKENS);
