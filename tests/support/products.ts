// What every module of our own kernels has to compute, wherever it runs: products with blocks of weights, against
// the slow loop on activations rounded in the same way, and against ONNX Runtime on the numbers of the blocks.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RawTensor, Runtime, SimdOptions, SimdRuntime } from '@rapport/core';
import * as op from '../../packages/core/src/graph/build.ts';
import { float32, Graph, type Tensor } from '../../packages/core/src/graph/index.ts';
import type { ActivationBits } from '../../packages/core/src/runtime/simd/plan.ts';
import { canPack, pack } from '../../packages/core/src/runtime/simd/pack.ts';
import { createSimdRuntime } from '../../packages/core/src/runtime/simd/simd-runtime.ts';
import { dequantise, FORMATS, type FormatName } from '../../packages/core/src/weights/formats.ts';
import { randomBlocks, type Codes, type Scales } from './random-blocks.ts';

const formats = (Object.keys(FORMATS) as FormatName[]).filter(canPack);
/** Width of the weights: 16 blocks of 32, or two of 256. */
const K = 512;

/** Rows of activations, rows of weights, and of which blocks these are. */
type Case = readonly [T: number, N: number, codes: Codes, scales: Scales];

const usual: readonly Case[] = [
  [1, 10, 'random', 'ordinary'],
  [2, 10, 'random', 'ordinary'],
  [3, 10, 'random', 'ordinary'],
  [4, 70, 'random', 'ordinary'],
  [11, 70, 'random', 'ordinary'],
];
const allScales: readonly Scales[] = ['ordinary', 'zero', 'subnormal', 'large', 'mixed'];
const extreme = allScales.flatMap((scales): Case[] => [
  [5, 70, 'random', scales],
  [5, 70, 'lowest', scales],
  [5, 70, 'highest', scales],
]);

/** Activations as the kernels round them: per block of 32 to whole steps of the largest magnitude, in fp32. */
function rounded(x: Float32Array, bits: ActivationBits): Float32Array {
  const most = 2 ** (bits - 1) - 1;
  return x.map((value, i) => {
    const block = x.subarray(i - (i % 32), i - (i % 32) + 32);
    const top = block.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    if (top === 0) return 0;
    return halfToEven(Math.fround(value * Math.fround(most / top))) * (top / most);
  });
}

function halfToEven(x: number): number {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

/** A wave with one block a thousand times larger, one all zero, one at its peak throughout, one at ± its peak. */
function activations(T: number): Float32Array {
  const x = Float32Array.from({ length: T * K }, (_, i) => Math.sin(3 + i * 1.7));
  for (let at = 0; at < x.length; at += K) {
    for (let k = 32; k < 64; k++) x[at + k]! *= 1000;
    x.fill(0, at + 64, at + 96);
    x.fill(-3.7, at + 96, at + 128);
    for (let k = 128; k < 160; k++) x[at + k] = k % 2 === 0 ? 0.3 : -0.3;
  }
  return x;
}

/** x · wᵀ [T, N] by the slow loop, and how large each would be were all terms of one sign and all weights the largest. */
function slowly(x: Float32Array, w: Float32Array) {
  const [T, N] = [x.length / K, w.length / K];
  const sums = new Float64Array(T * N);
  const most = new Float64Array(T * N);
  for (let t = 0; t < T; t++) {
    for (let n = 0; n < N; n++) {
      let [sum, size, largest] = [0, 0, 0];
      for (let k = 0; k < K; k++) {
        sum += w[n * K + k]! * x[t * K + k]!;
        size += Math.abs(x[t * K + k]!);
        largest = Math.max(largest, Math.abs(w[n * K + k]!));
      }
      sums[t * N + n] = sum;
      most[t * N + n] = size * largest;
    }
  }
  return { sums, most };
}

/** Whether numbers differ by no more than `tolerance` times what they could be at most. */
function expectClose(
  { data }: Tensor,
  sums: ArrayLike<number | bigint>,
  most: Float64Array,
  tolerance: number,
): void {
  expect(data.length).toBe(sums.length);
  for (let i = 0; i < data.length; i++) {
    const error = Math.abs(Number(data[i]) - Number(sums[i]));
    expect(error).toBeLessThanOrEqual(tolerance * most[i]!);
  }
}

function expectProduct(
  y: Tensor,
  x: Float32Array,
  w: Float32Array,
  { bits, tolerance }: { bits: ActivationBits; tolerance: number },
): void {
  const { sums, most } = slowly(rounded(x, bits), w);
  expectClose(y, sums, most, tolerance);
}

/** The kernels under test: their module, to how many bits they round for 4-bit weights, and their threads. */
export interface Kernels extends Pick<SimdOptions, 'spawn' | 'threads'> {
  readonly module: () => Promise<WebAssembly.Module>;
  readonly bits: 8 | 16;
  /** ONNX Runtime. */
  readonly reference: () => Promise<Runtime>;
}

/** Products with every block format. */
export function describeProducts(name: string, kernels: Kernels): void {
  const { module, bits, reference, ...threads } = kernels;

  describe.each(formats)(`products with %s on ${name}`, (format) => {
    // Steps and minima are added apart; of two bits they may be much larger than the weights they make.
    const tolerance = format === 'Q2_K' ? 2e-6 : 1e-6;
    let stored: RawTensor;
    let own: SimdRuntime;
    let ort: Runtime;
    beforeAll(async () => {
      const readRaw = async () => stored;
      own = await createSimdRuntime({ module: await module(), readRaw, ...threads });
      ort = await reference();
    });
    afterAll(() => own.dispose());

    test.each([...usual, ...extreme])(
      '%i rows of activations, %i rows of %s codes under %s scales',
      async (T, N, codes, scales) => {
        const bytes = randomBlocks(format, N * K, { codes, scales }, T);
        const w = dequantise(format, bytes, N * K);
        stored = { format, bytes, shape: [N, K] };
        const graph = new Graph();
        const x = graph.input('x', 'float32', ['T', K]);
        const weight = graph.weight('w', 'float32', [N, K]);
        graph.output('y', op.matmulTransposed(x, weight));
        graph.output('ofProduct', op.matmulTransposed(op.mul(x, x), weight));
        const numbers = () => float32([N, K], w);
        const session = await own.load(graph, numbers);
        expect(own.activationBits).toBe(bits);
        const layout = pack(format, bytes, N, K);
        const wide = layout.size === 16 ? 16 : own.wideBits;
        const roundedTo = layout.bits === 4 ? bits : wide;

        const feed = float32([T, K], activations(T));
        const { y, ofProduct } = await session.run({ x: feed });
        const { y: exact } = await session.run({ x: feed }, { exact: true });
        expectProduct(y!, feed.data, w, { bits: roundedTo, tolerance });
        expectProduct(exact!, feed.data, w, { bits: 16, tolerance });
        const squares = feed.data.map((value) => value * value);
        expectProduct(ofProduct!, squares, w, { bits: wide, tolerance });

        // What is rounded already stays as it is, so ONNX Runtime adds the same terms.
        const whole = float32([T, K], rounded(feed.data, roundedTo));
        const expected = await ort.load(graph, numbers);
        const [ours, theirs] = [await session.run({ x: whole }), await expected.run({ x: whole })];
        expectClose(ours['y']!, theirs['y']!.data, slowly(whole.data, w).most, 1e-5);
        await session.dispose();
        await expected.dispose();
      },
    );
  });
}
