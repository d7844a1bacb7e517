// Backends of a real browser on which a model is opened; the model itself is made up.
import { expect, test } from 'vitest';
import type { Checkpoint } from '@rapport/core';
import { openOnBackend } from './backend.ts';

const checkpointOf = (format: string) =>
  ({ tensors: new Map([['weight', { format }]]) }) as unknown as Checkpoint;

test('a model that the fastest engine fails to load is opened on our own kernels', async () => {
  const measured = { ms: { wasm: 1 }, wrong: [], calm: true, whole: true, tookMs: 300 };
  const verdict = { engine: 'wasm', ...measured } as const;
  const request = { choice: 'auto', checkpoint: checkpointOf('Q4_0'), verdict } as const;
  let tries = 0;
  const on = await openOnBackend(request, async () => {
    if (++tries === 1) throw new Error('bad_alloc');
  });
  expect(on).toMatchObject({ backend: { name: 'WASM SIMD' }, reason: 'fell-back' });
  expect(on.verdict).toBeUndefined();
});

test('after a crash a model in fp32 is opened small, on one thread of the processor', async () => {
  const request = { choice: 'webgpu', checkpoint: checkpointOf('F32'), afterCrash: true } as const;
  const on = await openOnBackend(request, async (_, small) => ({ small }));
  const backend = { name: 'WASM fp32', threads: 1 };
  expect(on).toMatchObject({ backend, reason: 'after-crash', opened: { small: true } });
});

test('after a crash a model that our own kernels fail to load is opened small on the next engine', async () => {
  const request = { choice: 'auto', checkpoint: checkpointOf('Q4_0'), afterCrash: true } as const;
  let tries = 0;
  const on = await openOnBackend(request, async (_, small) => {
    if (++tries === 1) throw new Error('bad_alloc');
    return { small };
  });
  const backend = { name: 'WASM fp32', threads: 1 };
  expect(on).toMatchObject({ backend, reason: 'after-crash', opened: { small: true } });
});
