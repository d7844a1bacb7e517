import { expect, test } from 'vitest';
import type { ModelConfig } from '@rapport/core';
import { bytesAToken, flopsOfPrompt } from './limits.ts';
import { MEMORY_BYTES, peakModule } from './peak-module.ts';
import { percentile } from './server.ts';

const config: ModelConfig = {
  architecture: 'llama',
  layers: 2,
  hidden: 4,
  heads: 2,
  kvHeads: 1,
  headDim: 2,
  ffn: 8,
  vocab: 10,
  context: 16,
  ropeTheta: 1e4,
  normEpsilon: 1e-5,
  tiedHead: true,
  biases: { qkv: false, out: false, ffn: false },
  qkNorm: false,
};
const tensors = new Map(
  Object.entries({ embed: [10, 4], linear: [8, 4], norm: [4] }).map(([name, shape]) => [
    name,
    { name, shape, format: 'F32' },
  ]),
);

test('a token reads every weight, and keys and values of the past', () => {
  const cache = 3 * 2 * 2 * 1 * 2 * 4;
  expect(bytesAToken({ config, tensors }, 'fp32', 3)).toBe((40 + 32 + 4) * 4 + cache);
  const stored = new Map([
    ['embed', 45],
    ['linear', 20],
    ['norm', 16],
  ]);
  expect(bytesAToken({ config, tensors }, stored, 0)).toBe(81);
});

test('a prompt multiplies by every linear for each token, and by the head once', () => {
  const attention = 5 * 2 * 2 * 2 * 2 * 5;
  expect(flopsOfPrompt({ config, tensors }, 5)).toBe(5 * 2 * 32 + attention + 2 * 40);
});

test('the module of limits is valid, reads every float, and multiplies', async () => {
  const { instance } = await WebAssembly.instantiate(peakModule());
  const { multiply, read, memory } = instance.exports as {
    multiply(rounds: number): number;
    read(bytes: number): number;
    memory: WebAssembly.Memory;
  };
  new Float32Array(memory.buffer).fill(1);
  // The first lane of every sixteen bytes.
  expect(read(64 * 1000)).toBe(4 * 1000);
  expect(read(MEMORY_BYTES)).toBe(MEMORY_BYTES / 16);
  expect(multiply(1000)).toBe(0);
});

test('percentiles are figures that were seen', () => {
  const all = Array.from({ length: 200 }, (_, i) => 200 - i);
  expect([percentile(all, 0.5), percentile(all, 0.99), percentile([7], 0.99)]).toEqual([
    100, 198, 7,
  ]);
});
