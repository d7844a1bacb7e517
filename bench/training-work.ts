// What the bench asks of our training, the same in Node and in the page: a step, a whole course of DPO, a plain product
// of matrices, rollouts. Each is a line, as it is for the Python script.
import { float32, Graph, op, Random, type Checkpoint, type Runtime } from '@rapport/core';
import {
  AdamW,
  crossEntropy,
  dpoDefaults,
  newAdapter,
  Policy,
  trainDpo,
  type Parameters,
  type PolicyOptions,
  type PolicyOutputs,
} from '@rapport/rlhf';
import { rolloutSpeed } from './rollouts.ts';
import { PROMPT_TOKENS, REPLY_TOKENS, ROW_TOKENS, ROWS } from './training-names.ts';

const LORA = { rank: 8, alpha: 16 };
const LR = 1e-4;
/** Products in one measurement of the machine. */
const PRODUCTS = 8;

/** A step, or a course. */
export interface Trained {
  ms: number;
  /** Before the first update, in nats. */
  loss: number;
}

/** Highest memory of the process until now, where it is known. */
export type Peak<T> = T & { peakBytes?: number };

/**
 * Answers `step`, `dpo PAIRS EPOCHS`, `products SIDE` (multiplications and additions a second) and
 * `rollouts SIDE_BY_SIDE TOKENS` (tokens a second). `ofStep` and `ofCourse`: how much of memory they may take.
 */
export function trainingWork(
  checkpoint: Checkpoint,
  runtime: Runtime,
  { ofStep, ofCourse }: { ofStep?: PolicyOptions; ofCourse?: PolicyOptions } = {},
): (line: string) => Promise<object> {
  let step: Promise<() => Promise<Trained>> | undefined;
  return async (line) => {
    const [work, ...words] = line.split(' ');
    const [a = 0, b = 0] = words.map(Number);
    if (work === 'step') {
      step ??= stepper(new Policy(checkpoint, runtime, { ...ofStep, place: { fromLayer: 0 } }));
      return (await step)();
    }
    if (work === 'dpo') return course(new Policy(checkpoint, runtime, ofCourse), a, b);
    if (work === 'products') return { flops: await products(runtime, a) };
    if (work === 'rollouts') {
      const speed = rolloutSpeed(checkpoint, runtime, b);
      return { tokensPerSecond: await speed(drawn(0, ROW_TOKENS, checkpoint), a) };
    }
    throw new Error(`nobody knows how to do ${line}`);
  };
}

/** Seeded tokens, the same in Python. */
function drawn(from: number, count: number, { config }: Checkpoint): number[] {
  const most = Math.min(config.vocab, 20_000);
  return Array.from({ length: count }, (_, i) => (1000 + (from + i) * 7919) % most);
}

/** Four rows of text, LoRA on all linears, forward, backward and update; rows are learned after their first token. */
async function stepper(policy: Policy): Promise<() => Promise<Trained>> {
  const { checkpoint } = policy;
  const rows = await policy.withTrunk(
    Array.from({ length: ROWS }, (_, row) => {
      const tokens = drawn(row * ROW_TOKENS, ROW_TOKENS, checkpoint);
      return { prompt: tokens.slice(0, 1), reply: tokens.slice(1) };
    }),
  );
  const adapter = newAdapter(policy.sites, LORA, new Random(1));
  const parameters: Parameters = new Map(
    [...adapter.targets].flatMap(([path, { a, b }]) => [
      [`lora.${path}.a`, a],
      [`lora.${path}.b`, b],
    ]),
  );
  const largest = { batch: ROWS, width: ROW_TOKENS };
  const lossOf = (p: PolicyOutputs) => ({
    loss: crossEntropy(p.logprobs, p.input('textWeight', 'float32', ['N'])),
  });
  const trainer = await policy.trainer(LORA.rank, lossOf, { largest });
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

/**
 * DPO as the product does it, from judgements to an adapter: graphs are opened, the lower half is computed once a row
 * and kept, then the reference's log-probs, then the epochs.
 */
async function course(policy: Policy, pairs: number, epochs: number): Promise<Trained> {
  const { checkpoint } = policy;
  const fromMs = performance.now();
  const width = PROMPT_TOKENS + 2 * REPLY_TOKENS;
  const rows = Array.from({ length: pairs }, (_, pair) => {
    const tokens = drawn(pair * width, width, checkpoint);
    const prompt = tokens.slice(0, PROMPT_TOKENS);
    return [0, 1].map((which) => {
      const at = PROMPT_TOKENS + which * REPLY_TOKENS;
      return { prompt, reply: tokens.slice(at, at + REPLY_TOKENS) };
    });
  });
  const read = await policy.withTrunk(rows.flat());
  const refLogprobs = (await policy.score(read, null)).map(({ logprobs }) => logprobs);
  const rankings = rows.map((_, pair) => ({
    rows: read.slice(2 * pair, 2 * pair + 2),
    refLogprobs: refLogprobs.slice(2 * pair, 2 * pair + 2),
    ranks: [1, 2],
  }));
  const config = { ...dpoDefaults, epochs, promptsPerStep: 4, minSteps: 1, chosenNll: 0 };
  let loss: number | undefined;
  for await (const record of trainDpo(policy, rankings, [], config)) loss ??= record.loss;
  await policy.dispose();
  return { ms: performance.now() - fromMs, loss: loss! };
}

/** Multiplications and additions a second of plain fp32 products of square matrices: what there is to reach. */
async function products(runtime: Runtime, side: number): Promise<number> {
  const graph = new Graph();
  const shape = [side, side];
  const [a, b] = ['a', 'b'].map((name) => graph.input(name, 'float32', shape));
  graph.output('product', op.matmul(a!, b!));
  const session = await runtime.load(graph, () => {
    throw new Error('a product has no weights');
  });
  const ones = float32(shape, new Float32Array(side * side).fill(1));
  const multiply = () => session.run({ a: ones, b: ones });
  await multiply();
  const fromMs = performance.now();
  for (let i = 0; i < PRODUCTS; i++) await multiply();
  const seconds = (performance.now() - fromMs) / 1000;
  await session.dispose();
  return (2 * side ** 3 * PRODUCTS) / seconds;
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
