// Supervised fine-tuning of all weights of a small model: what LoRA's trainers do, with the weights themselves as the
// inputs that are differentiated. The result is a checkpoint, a base like any other. Left out: going on after a stop.
import { dropoutFeeds, float32, Random, RapportError } from '@rapport/core';
import type { Checkpoint, Runtime, Session, Tensor, Value } from '@rapport/core';
import { crossEntropy } from '../losses/policy.ts';
import { accumulate, AdamW, clipNorm } from '../optim/adamw.ts';
import type { Parameters } from '../optim/adamw.ts';
import { rateAt } from '../optim/schedule.ts';
import { stopFor } from './guards.ts';
import { gradientsIn, weightsGraph } from './policy-graph.ts';
import type { LossParts, PolicyOutputs } from './policy-graph.ts';
import { batchesOf, Layout } from './rows.ts';
import type { Row } from './rows.ts';
import type { SftRecord } from './sft.ts';

/** Padded tokens of one run of the graph. */
const BUDGET_TOKENS = 1024;

export interface AllWeightsConfig {
  readonly lrPeak: number;
  readonly epochs: number;
  /** Rows per optimiser step. */
  readonly batch: number;
  readonly warmupSteps: number;
  /** As AdamW's: a share of each weight per step and unit of the learning rate. */
  readonly weightDecay: number;
  /** Share of what attention and feed-forward add that is dropped while training. */
  readonly residualDropout: number;
  readonly seed: number;
}

export const allWeightsDefaults: AllWeightsConfig = {
  lrPeak: 1e-4,
  epochs: 3,
  batch: 16,
  warmupSteps: 3,
  weightDecay: 0.01,
  residualDropout: 0,
  seed: 0,
};

export type AllWeightsRecord = Pick<
  SftRecord,
  'stage' | 'step' | 'of' | 'loss' | 'gradientNorm' | 'lr'
>;

/**
 * Trains every weight of `checkpoint` on the replies of `rows`; yields a record per step, returns the trained
 * checkpoint. The one given stays as it is.
 *
 * @throws RapportError `train/not-finite`.
 */
export async function* trainAllWeights(
  checkpoint: Checkpoint,
  runtime: Runtime,
  rows: readonly Row[],
  config: AllWeightsConfig = allWeightsDefaults,
  signal?: AbortSignal,
): AsyncGenerator<AllWeightsRecord, Checkpoint> {
  const { lrPeak, epochs, batch, warmupSteps, weightDecay, residualDropout, seed } = config;
  const random = new Random(seed);
  const weights = await weightsOf(checkpoint);
  const adam = new AdamW({ weightDecay });
  const trainer = await WeightTrainer.open(
    checkpoint,
    runtime,
    (p) => ({ loss: crossEntropy(p.logprobs, p.input('textWeight', 'float32', ['N'])) }),
    residualDropout,
  );
  const perEpoch = Math.ceil(rows.length / batch);
  const of = perEpoch * epochs;
  try {
    for (let step = 0; step < of;) {
      const order = random.shuffle([...rows]);
      for (let at = 0; at < order.length; at += batch) {
        signal?.throwIfAborted();
        const chosen = order.slice(at, at + batch);
        const tokens = repliedTokens(chosen);
        const gradients: Parameters = new Map();
        let loss = 0;
        for (const part of batchesOf(chosen, (row) => row, BUDGET_TOKENS)) {
          const count = repliedTokens(part);
          const textWeight = float32([count], new Float32Array(count).fill(1 / tokens));
          const out = await trainer.run(part, weights, { textWeight }, gradients, random);
          loss += Number(out['loss']!.data[0]);
        }
        const schedule = { kind: 'cosine', warmup: warmupSteps, steps: of } as const;
        const lr = lrPeak * rateAt(step, schedule);
        const gradientNorm = clipNorm(gradients, 1);
        const stopped = stopFor(gradientNorm);
        if (stopped) {
          throw new RapportError(
            stopped.code,
            stopped.message,
            'Train with a lower learning rate.',
          );
        }
        adam.step(weights, gradients, lr);
        yield { stage: 'sft', step: ++step, of, loss, gradientNorm, lr };
      }
    }
    return withWeights(checkpoint, weights);
  } finally {
    await trainer.dispose();
  }
}

/** Runs a loss and its gradients for all weights of a model. */
export class WeightTrainer {
  readonly #checkpoint: Checkpoint;
  readonly #session: Session;
  readonly #inputs: readonly Value[];

  private constructor(checkpoint: Checkpoint, session: Session, inputs: readonly Value[]) {
    this.#checkpoint = checkpoint;
    this.#session = session;
    this.#inputs = inputs;
  }

  /** `lossOf`: any loss a policy can be trained by. */
  static async open(
    checkpoint: Checkpoint,
    runtime: Runtime,
    lossOf: (policy: PolicyOutputs) => LossParts,
    residualDropout = 0,
  ): Promise<WeightTrainer> {
    const dropout = { residual: residualDropout };
    const graph = weightsGraph(checkpoint.config, { lossOf, dropout });
    const session = await runtime.load(graph, unbound);
    return new WeightTrainer(checkpoint, session, graph.inputs);
  }

  /** One micro-batch: adds the gradients to `into` (made on first use) and returns the other outputs. */
  async run(
    batch: readonly Row[],
    weights: Parameters,
    feeds: Record<string, Tensor>,
    into: Parameters,
    random?: Random,
  ): Promise<Record<string, Tensor>> {
    const { config, tensors } = this.#checkpoint;
    const layout = new Layout(batch);
    const bound = [...weights].map(([name, data]) => [
      name,
      float32(tensors.get(name)!.shape, data),
    ]);
    const out = await this.#session.run({
      ...layout.tokens(),
      ...layout.feeds(config.heads / config.kvHeads),
      ...layout.replies(),
      inverseTemperature: float32([], [1]),
      ...dropoutFeeds(this.#inputs, { B: layout.batch, T: layout.width }, random),
      ...(Object.fromEntries(bound) as Record<string, Tensor>),
      ...feeds,
    });
    accumulate(into, gradientsIn(out));
    return out;
  }

  dispose(): Promise<void> {
    return this.#session.dispose();
  }
}

/** A copy of all weights by name, for the optimiser to change in place. */
export async function weightsOf({ tensors, read }: Checkpoint): Promise<Parameters> {
  const weights: Parameters = new Map();
  for (const name of tensors.keys()) weights.set(name, (await read(name)).slice());
  return weights;
}

/** The checkpoint with other weights. Its digest and its stored blocks are no longer what it is. */
const withWeights = (
  { config, tokenizer, tensors }: Checkpoint,
  weights: Parameters,
): Checkpoint => ({
  config,
  tokenizer,
  tensors,
  read: async (name) => weights.get(name)!,
});

/** Nothing is bound to the graph: its weights are fed. */
const unbound = (name: string): never => {
  throw new Error(`Assertion failed: ${name} is not fed`);
};

const repliedTokens = (rows: readonly Row[]): number =>
  rows.reduce((n, { reply }) => n + reply.length, 0);
