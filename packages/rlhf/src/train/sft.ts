// Supervised fine-tuning on replies: L = Σ mask·CE / Σ mask over the whole accumulated batch, the mask on
// reply tokens with their end of turn. On the best reply of each ranking it is rejection-sampling SFT.
// Left out: packing (rows are batched by length), residual dropout.
import { float32 } from '@rapport/core';
import type { Adapter } from '@rapport/core';
import { crossEntropy } from '../losses/policy.ts';
import type { Parameters } from '../optim/adamw.ts';
import { rateAt } from '../optim/schedule.ts';
import { newAdapter, parametersOf } from './adapter.ts';
import { Course } from './course.ts';
import type { Keeping } from './course.ts';
import type { Policy } from './policy.ts';
import { batchesOf } from './rows.ts';
import type { TrunkRow } from './rows.ts';
import { update } from './step.ts';

export interface SftConfig {
  readonly lrPeak: number;
  readonly epochs: number;
  /** Rows per optimiser step. */
  readonly batch: number;
  readonly warmupSteps: number;
  readonly rank: number;
  readonly alpha: number;
  readonly seed: number;
}

export const sftDefaults: SftConfig = {
  lrPeak: 1e-3,
  epochs: 3,
  batch: 16,
  warmupSteps: 3,
  rank: 8,
  alpha: 16,
  seed: 0,
};

export interface SftRecord {
  readonly stage: 'sft';
  readonly step: number;
  readonly of: number;
  /** Mean negative log-likelihood per reply token, in nats. */
  readonly loss: number;
  readonly gradientNorm: number;
  readonly lr: number;
}

/** Trains an adapter from zero, or from where `keeping` says; yields a record per step, returns the adapter. */
export async function* trainSft(
  policy: Policy,
  rows: readonly TrunkRow[],
  config: SftConfig = sftDefaults,
  signal?: AbortSignal,
  keeping: Keeping = {},
): AsyncGenerator<SftRecord, Adapter> {
  const course = new Course(keeping, config.seed, (random) =>
    newAdapter(policy.sites, config, random),
  );
  const { adapter, adam } = course;
  const parameters = parametersOf(adapter);
  const of = Math.ceil(rows.length / config.batch) * config.epochs;
  const trainer = await policy.trainer(config.rank, (p) => ({
    loss: crossEntropy(p.logprobs, p.input('textWeight', 'float32', ['N'])),
  }));
  try {
    for (let step = course.step; step < of; step++) {
      signal?.throwIfAborted();
      const batch = course.draw(rows, config.batch, 1);
      const tokens = batch.reduce((n, { reply }) => n + reply.length, 0);
      const gradients: Parameters = new Map();
      let loss = 0;
      for (const part of batchesOf(batch, (row) => row, 1024)) {
        const count = part.reduce((n, { reply }) => n + reply.length, 0);
        const textWeight = float32([count], new Float32Array(count).fill(1 / tokens));
        const out = await trainer.run(part, adapter, { textWeight }, gradients);
        loss += Number(out['loss']!.data[0]);
      }
      const schedule = { kind: 'cosine', warmup: config.warmupSteps, steps: of } as const;
      const lr = config.lrPeak * rateAt(step, schedule);
      yield {
        stage: 'sft',
        step: step + 1,
        of,
        loss,
        gradientNorm: update(adam, parameters, gradients, lr),
        lr,
      };
      await course.keep(step + 1);
    }
    return adapter;
  } finally {
    await trainer.dispose();
  }
}
