// What every module of our own kernels has to compute, wherever it runs: products with blocks of weights, against
// the slow loop on activations rounded in the same way.
import { describe, expect, test } from 'vitest';
import * as op from '../../packages/core/src/graph/build.ts';
import { float32, Graph, type Tensor } from '../../packages/core/src/graph/index.ts';
import { canPack, pack } from '../../packages/core/src/runtime/simd/pack.ts';
import { createSimdRuntime } from '../../packages/core/src/runtime/simd/simd-runtime.ts';
import { dequantise, FORMATS, type FormatName } from '../../packages/core/src/weights/formats.ts';
import { randomBlocks } from './random-blocks.ts';

const formats = (Object.keys(FORMATS) as FormatName[]).filter(canPack);
/** Activations as the kernels round them: per block of 32 to whole steps of the largest magnitude, in fp32. */
function rounded(x: Float32Array, bits: 8 | 16): Float32Array {
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
function activations(T: number, K: number): Tensor<'float32'> {
  const x = float32(
    [T, K],
    Array.from({ length: T * K }, (_, i) => Math.sin(3 + i * 1.7)),
  );
  for (let t = 0; t < T; t++) {
    const at = t * K;
    for (let k = 32; k < 64; k++) x.data[at + k]! *= 1000;
    x.data.fill(0, at + 64, at + 96);
    x.data.fill(-3.7, at + 96, at + 128);
    for (let k = 128; k < 160; k++) x.data[at + k] = k % 2 === 0 ? 0.3 : -0.3;
  }
  return x;
}

/** Whether y [T, N] is x · wᵀ by the slow loop, with activations rounded to `bits`. */
function expectProduct(y: Tensor, x: Float32Array, w: Float32Array, bits: 8 | 16): void {
  const [T, N] = y.shape as [number, number];
  const K = w.length / N;
  const a = rounded(x, bits);
  for (let t = 0; t < T; t++) {
    for (let n = 0; n < N; n++) {
      let sum = 0;
      let scale = 0;
      for (let k = 0; k < K; k++) {
        const term = w[n * K + k]! * a[t * K + k]!;
        sum += term;
        scale += Math.abs(term);
      }
      const error = Math.abs((y.data[t * N + n] as number) - sum);
      expect(error).toBeLessThanOrEqual(1e-6 * scale + 1e-6);
    }
  }
}

/** Products with every block format on the kernels of `module`, which round to `bits` for 4-bit weights. */
export function describeProducts(
  name: string,
  bits: 8 | 16,
  module: () => Promise<WebAssembly.Module>,
): void {
  describe.each(formats)(`products with %s on ${name} SIMD`, (format) => {
    const K = 512;

    test.each([
      [1, 10, 'random'],
      [2, 10, 'random'],
      [3, 10, 'random'],
      [4, 70, 'random'],
      [11, 70, 'random'],
      [5, 70, 'lowest'],
      [5, 70, 'highest'],
    ] as const)(
      '%i rows of activations, %i rows of %s blocks, are the scalar loop',
      async (T, N, blocks) => {
        const bytes = randomBlocks(format, N * K, blocks, T);
        const w = dequantise(format, bytes, N * K);
        const graph = new Graph();
        const x = graph.input('x', 'float32', ['T', K]);
        const weight = graph.weight('w', 'float32', [N, K]);
        graph.output('y', op.matmulTransposed(x, weight));
        graph.output('ofProduct', op.matmulTransposed(op.mul(x, x), weight));
        const own = await createSimdRuntime({
          module: await module(),
          readRaw: async () => ({ format, bytes, shape: [N, K] }),
        });
        expect(own.activationBits).toBe(bits);
        const session = await own.load(graph, () => float32([N, K], w));
        const feed = activations(T, K);
        const { y, ofProduct } = await session.run({ x: feed });
        const { y: exact } = await session.run({ x: feed }, { exact: true });
        const weightBits = pack(format, bytes, N, K).bits;
        expectProduct(y!, feed.data, w, weightBits === 4 ? bits : 16);
        expectProduct(exact!, feed.data, w, 16);
        expectProduct(
          ofProduct!,
          feed.data.map((value) => value * value),
          w,
          16,
        );
      },
    );
  });
}
