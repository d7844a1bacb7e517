// Our own kernels in a page that is served without the headers of cross-origin isolation.
import { expect, test } from 'vitest';
import { ask } from '../support/asking.ts';
import { checkGreedy, greedyCases } from '../support/greedy.ts';
import type { Chat, Chatted } from '../support/own-kernels.worker.ts';

test.each([
  { withoutRelaxedSimd: false, bits: 8, tolerance: 0.4, tie: 0.3 },
  { withoutRelaxedSimd: true, bits: 16, tolerance: 5e-3, tie: 0.02 },
])('they answer on one thread as PyTorch does, %o', async (module) => {
  expect(crossOriginIsolated).toBe(false);
  expect('SharedArrayBuffer' in globalThis).toBe(false);
  const golden = greedyCases[0]!;
  const { withoutRelaxedSimd, bits, tolerance, tie } = module;
  const url = new URL('../support/own-kernels.worker.ts', import.meta.url);
  const { name, threads, activationBits, replies } = await ask<Chatted>(
    new Worker(url, { type: 'module' }),
    {
      choice: 'simd',
      prompts: [{ prompt: golden.prompt, maxTokens: golden.greedy_ids.length }],
      withoutRelaxedSimd,
    } satisfies Chat,
  );
  expect([name, threads, activationBits]).toEqual(['WASM SIMD', 1, bits]);
  checkGreedy(replies[0]!, golden, tolerance, tie);
});
