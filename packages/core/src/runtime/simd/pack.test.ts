import { describe, expect, test } from 'vitest';
import { dequantise, FORMATS, type FormatName } from '../../weights/formats.ts';
import { randomBlocks } from '../../../../../tests/support/random-blocks.ts';
import { canPack, pack, packFloats, unpackRow } from './pack.ts';

const formats = (Object.keys(FORMATS) as FormatName[]).filter(canPack);

test('every block format that is read has a layout for the kernels', () => {
  const quantised = Object.values(FORMATS).filter((format) => format.quantised);
  expect(formats).toEqual(quantised.map(({ name }) => name));
});

describe.each(formats)('%s', (format) => {
  const [rows, width] = [10, 512];

  test.each(['random', 'lowest', 'highest'] as const)('%s codes keep every number', (codes) => {
    const bytes = randomBlocks(format, rows * width, { codes, scales: 'mixed' }, 7);
    const expected = dequantise(format, bytes, rows * width);
    const packed = pack(format, bytes, rows, width);
    const row = new Float32Array(width);
    for (let i = 0; i < rows; i++) {
      unpackRow(packed, packed.bytes, i, row);
      const differing = row.filter((x, k) => x !== expected[i * width + k]);
      expect(differing).toHaveLength(0);
    }
  });

  test('too few bytes are refused by name', () => {
    const blocks = { codes: 'random', scales: 'ordinary' } as const;
    const bytes = randomBlocks(format, rows * width, blocks, 7);
    expect(() => pack(format, bytes.subarray(1), rows, width)).toThrow(/do not hold \[10, 512\]/);
  });
});

test('fp32 rows keep every bit', () => {
  const data = Float32Array.from({ length: 6 * 7 }, (_, i) => Math.sin(i));
  const packed = packFloats(data, 6, 7);
  const row = new Float32Array(7);
  for (let i = 0; i < 6; i++) {
    unpackRow(packed, packed.bytes, i, row);
    expect(row).toEqual(data.subarray(i * 7, i * 7 + 7));
  }
});
