import { join } from 'node:path';
import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { bytesSource, readSafetensors } from '@rapport/core';
import { temporaryFolder } from '../store/test-store.ts';
import { readAdapter, writeAdapter } from './peft.ts';

const path = 'model.layers.0.mlp.up_proj';
// in = 3, r = 2, out = 1.
const adapter = {
  rank: 2,
  alpha: 4,
  targets: new Map([[path, { a: Float32Array.of(1, 2, 3, 4, 5, 6), b: Float32Array.of(7, 8) }]]),
};

test('an adapter survives the disk', async () => {
  const folder = await temporaryFolder();
  await writeAdapter(folder, adapter);
  expect(await readAdapter(join(folder, 'adapter_model.safetensors'), adapter)).toEqual(adapter);
});

test('PEFT reads A as [r, in] and B as [out, r]', async () => {
  const folder = await temporaryFolder();
  await writeAdapter(folder, adapter);
  const bytes = await readFile(join(folder, 'adapter_model.safetensors'));
  const tensors = await readSafetensors(bytesSource(bytes));
  expect(tensors.get(`base_model.model.${path}.lora_A.weight`)).toEqual({
    shape: [2, 3],
    data: Float32Array.of(1, 3, 5, 2, 4, 6),
  });
  expect(tensors.get(`base_model.model.${path}.lora_B.weight`)!.shape).toEqual([1, 2]);
});
