// Supervised fine-tuning on replies: L = Σ mask·CE / Σ mask over the whole accumulated batch, the mask on
// reply tokens with their end of turn. On the best reply of each ranking it is rejection-sampling SFT.
// Left out: packing (rows are batched by length), residual dropout.
import { float32, Random } from '@rapport/core';
import type { Adapter } from '@rapport/core';
import { crossEntropy } from '../losses/policy.ts';
import { AdamW } from '../optim/adamw.ts';
import type { Parameters } from '../optim/adamw.ts';
import { rateAt } from '../optim/schedule.ts';
import { newAdapter, parametersOf } from './adapter.ts';
import type { Policy } from './policy.ts';
import { lengthOf, packByLength } from './rows.ts';
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

/** Trains an adapter from zero; yields a record per step, returns the adapter. */
export async function* trainSft(
  policy: Policy,
  rows: readonly TrunkRow[],
  config: SftConfig = sftDefaults,
  signal?: AbortSignal,
): AsyncGenerator<SftRecord, Adapter> {
  const random = new Random(config.seed);
  const adapter = newAdapter(policy.sites, config, random);
  const parameters = parametersOf(adapter);
  const adam = new AdamW({ betas: [0.9, 0.99] });
  const of = Math.ceil(rows.length / config.batch) * config.epochs;
  const trainer = await policy.trainer(config.rank, (p) => ({
    loss: crossEntropy(p.logprobs, p.input('textWeight', 'float32', ['N'])),
  }));
  try {
    let queue: TrunkRow[] = [];
    for (let step = 0; step < of; step++) {
      signal?.throwIfAborted();
      if (queue.length === 0) queue = random.shuffle(rows);
      const batch = queue.splice(0, config.batch);
      const tokens = batch.reduce((n, { reply }) => n + reply.length, 0);
      const gradients: Parameters = new Map();
      let loss = 0;
      for (const part of packByLength(batch, lengthOf, 1024)) {
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
    }
    return adapter;
  } finally {
    await trainer.dispose();
  }
}
