// One step of training as the bench measures it: LoRA of rank 8 on all linears, four rows of 128 tokens,
// forward, backward and update. The same in Node and in the page.
import { float32, Random, type Adapter, type Checkpoint, type Runtime } from '@rapport/core';
import { AdamW, crossEntropy, Policy, type Parameters } from '@rapport/rlhf';

export const ROWS = 4;
export const ROW_TOKENS = 128;
const RANK = 8;
const LR = 1e-4;

export interface Stepped {
  ms: number;
  /** Mean negative log-likelihood before the update, in nats. */
  loss: number;
  /** Highest memory of the process until now, where it is known. */
  peakBytes?: number;
}

/** Gives a function that takes one step and says how long it took. */
export async function trainingStep(
  checkpoint: Checkpoint,
  runtime: Runtime,
): Promise<() => Promise<Stepped>> {
  const policy = new Policy(checkpoint, runtime, { place: { fromLayer: 0 } });
  const rows = await policy.withTrunk(batch(checkpoint.config.vocab));
  const adapter = newAdapter(policy);
  const parameters: Parameters = new Map(
    [...adapter.targets].flatMap(([path, { a, b }]) => [
      [`lora.${path}.a`, a],
      [`lora.${path}.b`, b],
    ]),
  );
  const trainer = await policy.trainer(RANK, (p) => ({
    loss: crossEntropy(p.logprobs, p.input('textWeight', 'float32', ['N'])),
  }));
  const adam = new AdamW();
  const count = ROWS * (ROW_TOKENS - 1);
  const textWeight = float32([count], new Float32Array(count).fill(1 / count));
  return async () => {
    const fromMs = performance.now();
    const gradients: Parameters = new Map();
    const out = await trainer.run(rows, adapter, { textWeight }, gradients);
    adam.step(parameters, gradients, LR);
    return { ms: performance.now() - fromMs, loss: Number(out['loss']!.data[0]) };
  };
}

/** Rows of seeded tokens, learned after the first; the Python script draws the same. */
function batch(vocab: number): { prompt: number[]; reply: number[] }[] {
  return Array.from({ length: ROWS }, (_, row) => {
    const tokens = Array.from(
      { length: ROW_TOKENS },
      (_, t) => (1000 + (row * ROW_TOKENS + t) * 7919) % Math.min(vocab, 20_000),
    );
    return { prompt: tokens.slice(0, 1), reply: tokens.slice(1) };
  });
}

function newAdapter({ sites }: Policy): Adapter {
  const random = new Random(1);
  const targets = new Map(
    sites.map(({ path, inputs, outputs }) => {
      const bound = 1 / Math.sqrt(inputs);
      const a = Float32Array.from(
        { length: inputs * RANK },
        () => (2 * random.uniform() - 1) * bound,
      );
      return [path, { a, b: new Float32Array(outputs * RANK) }];
    }),
  );
  return { rank: RANK, alpha: 2 * RANK, targets };
}

/**
 * Multiplications and additions of a step: the frozen weights once forward and once backward, to their inputs
 * only, the head at the tokens that are learned; attention and the adapter, a few hundredths, are left out.
 */
export function flopsOfStep({ config, tensors }: Pick<Checkpoint, 'config' | 'tensors'>): number {
  const head = config.vocab * config.hidden;
  let linears = 0;
  for (const { shape } of tensors.values()) {
    const elements = shape.reduce((a, b) => a * b, 1);
    if (shape.length === 2 && elements !== head) linears += elements;
  }
  return 2 * 2 * (linears * ROWS * ROW_TOKENS + head * ROWS * (ROW_TOKENS - 1));
}
