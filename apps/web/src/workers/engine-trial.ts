// One engine on trial: how long it takes for the matrix products of one token, and whether it computes what a plain
// loop does. Bit for bit it cannot: our own kernels round activations to 8 bits.
import { float32, Graph, op, type RawTensor, type Runtime, type Tensor } from '@rapport/core';
import type { Engine } from './inference.ts';
import type { Trial } from './verdict.ts';

const ROUNDS = 8;
/** And so long at least: while a page loads, threads have less than a core each for milliseconds on end. */
const ROUNDS_MS = 12;
/** Shapes of a small model's feed-forward layers. */
const [HIDDEN, FFN, LAYERS] = [576, 1536, 4];
/** Products of several tokens are computed in another way than those of one. */
const ROWS = [1, 4];
/** The furthest that a number of a product may be off, as a share of their root mean square. */
const TOLERANCE = 0.05;

/** A step of 2⁻⁸ and a minimum of −2⁻⁵, as fp16 and as numbers. */
const [STEP, MINIMUM] = [2 ** -8, -(2 ** -5)];
const HEAD = [0x00, 0x1c, 0x00, 0xa8];

/** Tries an engine, with the weights of `trialBlocks`, and ends it. */
export async function tryEngine(engine: Engine, runtime: Runtime): Promise<Trial> {
  const session = await runtime.load(products(), (name) => float32(shapeOf(name), numbers));
  let wrong = false;
  for (const rows of ROWS) {
    const { first } = await session.run({ x: activations(rows) });
    wrong ||= isOff(first!);
  }
  const x = activations(1);
  const roundsMs: number[] = [];
  const startMs = performance.now();
  for (let fromMs = startMs; roundsMs.length < ROUNDS || fromMs < startMs + ROUNDS_MS;) {
    await session.run({ x });
    const nowMs = performance.now();
    roundsMs.push(nowMs - fromMs);
    fromMs = nowMs;
  }
  // Its helper threads would stand in the way of the next.
  await runtime.dispose?.();
  roundsMs.sort((a, b) => a - b);
  return { engine, fastestMs: roundsMs[0]!, medianMs: roundsMs[roundsMs.length >> 1]!, wrong };
}

/** The weights of a trial as a file holds them: 4-bit blocks of 32, all different. */
export const trialBlocks = (name: string): RawTensor => ({
  format: 'Q4_1',
  bytes: blocks,
  shape: shapeOf(name),
});

/** The feed-forward products of a few layers, and the first product by itself. */
function products(): Graph {
  const graph = new Graph();
  const weight = (name: string) => graph.weight(name, 'float32', shapeOf(name));
  let x = graph.input('x', 'float32', ['T', HIDDEN]);
  for (let i = 0; i < LAYERS; i++) {
    const up = op.matmulTransposed(x, weight(`up${i}`));
    if (i === 0) graph.output('first', up);
    x = op.matmulTransposed(op.tanh(up), weight(`down${i}`));
  }
  graph.output('y', x);
  return graph;
}

const shapeOf = (name: string): [number, number] =>
  name.startsWith('up') ? [FFN, HIDDEN] : [HIDDEN, FFN];

const activations = (rows: number): Tensor<'float32'> =>
  float32(
    [rows, HIDDEN],
    Array.from({ length: rows * HIDDEN }, (_, i) => Math.sin(1 + 1.7 * i)),
  );

/** Whether any number of the first product is too far from that of the plain loop, or none. */
function isOff({ data }: Tensor): boolean {
  plain ??= plainProduct(activations(Math.max(...ROWS)).data);
  const meanSquare = plain.reduce((sum, y) => sum + y * y, 0) / plain.length;
  const most = TOLERANCE * Math.sqrt(meanSquare);
  return !(data as Float32Array).every((y, i) => Math.abs(y - plain![i]!) <= most);
}

let plain: Float32Array | undefined;

/** Each row of x times the first matrix. */
function plainProduct(x: Float32Array): Float32Array {
  const y = new Float32Array((x.length / HIDDEN) * FFN);
  for (let i = 0; i < y.length; i++) {
    const [row, at] = [Math.floor(i / FFN) * HIDDEN, (i % FFN) * HIDDEN];
    let sum = 0;
    for (let k = 0; k < HIDDEN; k++) sum += x[row + k]! * numbers[at + k]!;
    y[i] = sum;
  }
  return y;
}

const numbers = new Float32Array(HIDDEN * FFN);
const blocks = new Uint8Array((numbers.length / 32) * 20);
for (let block = 0; block < numbers.length / 32; block++) {
  blocks.set(HEAD, 20 * block);
  for (let i = 0; i < 16; i++) {
    const pair = Math.imul(16 * block + i, 0x9e3779b1) >>> 24;
    blocks[20 * block + 4 + i] = pair;
    numbers[32 * block + i] = STEP * (pair & 15) + MINIMUM;
    numbers[32 * block + 16 + i] = STEP * (pair >> 4) + MINIMUM;
  }
}
