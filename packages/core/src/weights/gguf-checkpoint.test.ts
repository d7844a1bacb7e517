import { beforeAll, describe, expect, test } from 'vitest';
import { openFile } from '../../../../apps/server/model-source/file-source.ts';
import { realCheckpoint } from '../../../../tests/support/checkpoint.ts';
import { modelPath } from '../../../../tests/support/model.ts';
import golden from '../../../../tests/golden/weights_golden.json' with { type: 'json' };
import type { Checkpoint } from './checkpoint.ts';
import { dequantise, type FormatName } from './formats.ts';
import { openGguf } from './gguf-checkpoint.ts';
import { tensorShapes } from './model-config.ts';

describe('SmolLM2-135M-Instruct, Q4_1', () => {
  let checkpoint: Checkpoint;
  beforeAll(async () => {
    checkpoint = await realCheckpoint();
  });

  test('its metadata is the published configuration', () => {
    expect(checkpoint.config).toEqual({
      architecture: 'llama',
      layers: 30,
      hidden: 576,
      heads: 9,
      kvHeads: 3,
      headDim: 64,
      ffn: 1536,
      vocab: 49_152,
      context: 8192,
      ropeTheta: 100_000,
      normEpsilon: 1e-5,
      tiedHead: true,
      biases: { qkv: false, out: false, ffn: false },
      qkNorm: false,
    });
  });

  test('it has the 272 tensors of its model and no others', () => {
    expect(checkpoint.tensors.size).toBe(272);
    expect(new Set(checkpoint.tensors.keys())).toEqual(
      new Set(tensorShapes(checkpoint.config).keys()),
    );
    const counts: Record<string, number> = {};
    for (const { format } of checkpoint.tensors.values())
      counts[format] = (counts[format] ?? 0) + 1;
    expect(counts).toEqual(golden.type_counts);
  });

  test.each(golden.tensors)('$hf_name has the reference numbers', async (want) => {
    const info = checkpoint.tensors.get(want.hf_name)!;
    const [rows, columns] = want.shape_rows_cols as [number, number?];
    expect([...info.shape]).toEqual(want.shape_rows_cols);
    const values = await checkpoint.read(want.hf_name);
    expect(values.length).toBe(rows * (columns ?? 1));
    expect([...values.subarray(0, 8)]).toEqual(want.first8_hf);
    const row1 = columns ? [...values.subarray(columns, columns + 4)] : [values[1]];
    expect(row1).toEqual(want.row1_first4_hf);
    const { mean, std } = moments(values);
    expect(mean).toBeCloseTo(want.mean, 9);
    expect(std).toBeCloseTo(want.std, 9);
  });

  test('raw blocks are in the same row order as the numbers', async () => {
    const name = 'model.layers.0.self_attn.k_proj.weight';
    const raw = (await checkpoint.readRaw!(name))!;
    expect(raw.format).toBe('Q4_1');
    expect(dequantise(raw.format as FormatName, raw.bytes, 192 * 576)).toEqual(
      await checkpoint.read(name),
    );
    expect(await checkpoint.readRaw!('model.norm.weight')).toBeUndefined();
  });

  test('opening it reads the header only, and each tensor by itself', async () => {
    const file = await openFile(await modelPath());
    let [total, largest] = [0, 0];
    const opened = await openGguf({
      sizeBytes: file.sizeBytes,
      read(offset, length) {
        total += length;
        largest = Math.max(largest, length);
        return file.read(offset, length);
      },
    });
    expect(total).toBeLessThan(file.sizeBytes / 20);
    total = largest = 0;
    await opened.read('model.layers.7.mlp.down_proj.weight');
    // 576 rows of 1,536 numbers in blocks of 32, 20 bytes each.
    expect([total, largest]).toEqual([576 * 48 * 20, 576 * 48 * 20]);
  });

  test('a name the model does not have is a named error', async () => {
    await expect(checkpoint.read('model.layers.30.mlp.up_proj.weight')).rejects.toMatchObject({
      code: 'weights/no-tensor',
    });
  });
});

function moments(values: Float32Array): { mean: number; std: number } {
  let sum = 0;
  let squares = 0;
  for (const value of values) {
    sum += value;
    squares += value * value;
  }
  const mean = sum / values.length;
  return { mean, std: Math.sqrt(squares / values.length - mean * mean) };
}
