import { describe, expect, test } from 'vitest';
import golden from '../../../../tests/golden/formats_golden.json' with { type: 'json' };
import { dequantise, FORMATS, type FormatName } from './formats.ts';

const fromBase64 = (text: string) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

describe('every storage format', () => {
  test('has a golden', () => {
    expect(golden.cases.map((one) => one.format).sort()).toEqual(Object.keys(FORMATS).sort());
  });

  test.each(golden.cases)('$format becomes the numbers of the gguf package, bit for bit', (one) => {
    const values = dequantise(one.format as FormatName, fromBase64(one.bytes), one.count);
    expect(new Uint8Array(values.buffer)).toEqual(fromBase64(one.values));
  });

  test.each(golden.cases)('$format may begin at any byte', (one) => {
    const bytes = fromBase64(one.bytes);
    const moved = new Uint8Array(bytes.length + 1);
    moved.set(bytes, 1);
    const values = dequantise(one.format as FormatName, moved.subarray(1), one.count);
    expect(new Uint8Array(values.buffer)).toEqual(fromBase64(one.values));
  });

  test.each(golden.cases)('$format with a byte too few is a named error', (one) => {
    const bytes = fromBase64(one.bytes).subarray(1);
    expect(() => dequantise(one.format as FormatName, bytes, one.count)).toThrowError(
      expect.objectContaining({ code: 'weights/inconsistent' }),
    );
  });
});
