import { expect, test } from 'vitest';
import { bytesSource } from '../weights/byte-source.ts';
import { writeSafetensors } from '../weights/safetensors.ts';
import { readPeft, readPeftConfig } from './peft.ts';

const config = { peft_type: 'LORA', r: 4, lora_alpha: 8, target_modules: ['q_proj'] };

test('rank and alpha are those of the config; rsLoRA scales by α/√r', () => {
  expect(readPeftConfig(config)).toEqual({ rank: 4, alpha: 8 });
  const { rank, alpha } = readPeftConfig({ ...config, use_rslora: true });
  expect(alpha / rank).toBeCloseTo(8 / Math.sqrt(4), 12);
});

test.each([
  { ...config, peft_type: 'IA3' },
  { ...config, r: 0 },
  { ...config, r: 1e9 },
  { ...config, lora_alpha: 0 },
  { ...config, lora_alpha: 'eight' },
  { r: 4, lora_alpha: 8 },
  null,
])('%o is no LoRA config', (json) => {
  expect(() => readPeftConfig(json)).toThrow(
    expect.objectContaining({ code: 'adapter/unreadable' }),
  );
});

/** Why a file for rank 4 is refused, and the shapes of its tensors. */
const refused: [string, Record<string, [number, number]>][] = [
  ['q has not the rank 4', { 'q.lora_A.weight': [3, 8], 'q.lora_B.weight': [8, 3] }],
  ['q has not the rank 4', { 'q.lora_A.weight': [4, 8], 'q.lora_B.weight': [8, 3] }],
  ['q has lora_A but no lora_B', { 'q.lora_A.weight': [4, 8], 'v.lora_B.weight': [8, 4] }],
  [
    'v.lora_B.weight has no lora_A',
    { 'q.lora_A.weight': [4, 8], 'q.lora_B.weight': [8, 4], 'v.lora_B.weight': [8, 4] },
  ],
  ['it holds no LoRA tensors', { 'q.weight': [8, 8] }],
];

test.each(refused)('an adapter is refused: %s (%j)', async (why, shapes) => {
  const tensors = Object.entries(shapes).map(([name, shape]) => {
    return [name, { shape, data: new Float32Array(shape[0] * shape[1]) }] as const;
  });
  const file = bytesSource(writeSafetensors(new Map(tensors)));
  await expect(readPeft(file, { rank: 4, alpha: 8 })).rejects.toMatchObject({
    code: 'adapter/unreadable',
    message: expect.stringContaining(why),
  });
});
