import { expect, test } from 'vitest';
import { readPeftConfig } from './peft.ts';

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
