import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RapportError } from '../error.ts';
import { bytesSource } from './byte-source.ts';
import {
  readSafetensors,
  readSafetensorsHeader,
  writeSafetensors,
  type NamedTensor,
} from './safetensors.ts';

const pair = new Map<string, NamedTensor>([
  ['b', { shape: [2, 2], data: Float32Array.of(1, -2, 0.5, 1e-30) }],
  ['a', { shape: [3], data: Float32Array.of(7, 8, 9) }],
]);

/** A file with this header over `dataBytes` bytes of zeros. */
function fileOf(header: unknown, dataBytes = 8): Uint8Array {
  const json = new TextEncoder().encode(
    typeof header === 'string' ? header : JSON.stringify(header),
  );
  const file = new Uint8Array(8 + json.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  return file;
}

const entry = (dtype: unknown, shape: unknown, offsets: unknown) => ({
  t: { dtype, shape, data_offsets: offsets },
});

describe('what is written', () => {
  test('is read back bit for bit', async () => {
    const tensors = await readSafetensors(bytesSource(writeSafetensors(pair)));
    expect(tensors).toEqual(new Map([...pair].sort()));
  });

  test('does not depend on the order the tensors came in', () => {
    const reversed = new Map([...pair].reverse());
    expect(writeSafetensors(reversed)).toEqual(writeSafetensors(pair));
  });

  test('carries its metadata, and its numbers begin at a multiple of eight', async () => {
    const file = writeSafetensors(pair, { format: 'pt', made: 'here' });
    const { entries, metadata } = await readSafetensorsHeader(bytesSource(file));
    expect(Object.fromEntries(metadata)).toEqual({ format: 'pt', made: 'here' });
    expect(entries.get('a')!.offset % 8).toBe(0);
  });

  test('must have as many numbers as its shape', () => {
    const wrong = new Map([['a', { shape: [4], data: Float32Array.of(1) }]]);
    expect(() => writeSafetensors(wrong)).toThrowError(
      expect.objectContaining({ code: 'weights/inconsistent' }),
    );
  });

  test('may hold tensors without numbers', async () => {
    const tensors = new Map<string, NamedTensor>([
      ['a', { shape: [0, 3], data: new Float32Array(0) }],
      ['b', { shape: [1], data: Float32Array.of(1) }],
      ['c', { shape: [0], data: new Float32Array(0) }],
    ]);
    expect(await readSafetensors(bytesSource(writeSafetensors(tensors)))).toEqual(tensors);
    const [none, one] = [0, 1].map((size) => ({
      dtype: 'F32',
      shape: [size],
      data_offsets: [0, 4 * size],
    }));
    const { entries } = await readSafetensorsHeader(bytesSource(fileOf({ one, none }, 4)));
    expect([...entries.keys()].sort()).toEqual(['none', 'one']);
  });

  test('keeps names that are special in JavaScript', async () => {
    const odd = new Map([['constructor', { shape: [1], data: Float32Array.of(4) }]]);
    expect(await readSafetensors(bytesSource(writeSafetensors(odd)))).toEqual(odd);
  });
});

describe('a damaged safetensors file is a named error', () => {
  test.each<[string, Uint8Array, string]>([
    ['an empty file', new Uint8Array(0), 'weights/truncated'],
    ['a file cut in its length', new Uint8Array(7), 'weights/truncated'],
    ['a file cut in its header', fileOf({}).subarray(0, 9), 'weights/truncated'],
    ['a header of exabytes', new Uint8Array(16).fill(0x7f), 'weights/oversized'],
    ['a header that is no JSON', fileOf('{"t":', 0), 'weights/not-safetensors'],
    ['a header that is a list', fileOf([], 0), 'weights/not-safetensors'],
    ['a header that is not UTF-8', fileOf('x', 0).fill(0xff, 8), 'weights/not-safetensors'],
    ['an entry that is a number', fileOf({ t: 1 }), 'weights/not-safetensors'],
    ['metadata that is no text', fileOf({ __metadata__: { a: 1 } }, 0), 'weights/not-safetensors'],
    ['integers', fileOf(entry('I64', [1], [0, 8])), 'weights/unknown-format'],
    ['a negative size', fileOf(entry('F32', [-2], [0, 8])), 'weights/not-safetensors'],
    ['a fractional size', fileOf(entry('F32', [0.5], [0, 2])), 'weights/not-safetensors'],
    ['a size as text', fileOf(entry('F32', ['2'], [0, 8])), 'weights/not-safetensors'],
    ['a range of one end', fileOf(entry('F32', [2], [0])), 'weights/not-safetensors'],
    ['a range shorter than the shape', fileOf(entry('F32', [2], [0, 4])), 'weights/inconsistent'],
    ['a range that runs backwards', fileOf(entry('F32', [2], [8, 0])), 'weights/inconsistent'],
    ['a range past the end', fileOf(entry('F32', [4], [0, 16])), 'weights/truncated'],
    [
      'a shape past all files',
      fileOf(entry('F32', [2 ** 52, 2 ** 52], [0, 8])),
      'weights/inconsistent',
    ],
    ['a size of no number', fileOf(entry('F32', [NaN], [0, 8])), 'weights/not-safetensors'],
    [
      'a size past all numbers',
      fileOf('{"t":{"dtype":"F32","shape":[1e999],"data_offsets":[0,8]}}'),
      'weights/not-safetensors',
    ],
    ['a negative range', fileOf(entry('F32', [2], [-8, 0])), 'weights/not-safetensors'],
    [
      'a range past exact numbers',
      fileOf(entry('F32', [2], [2 ** 53, 2 ** 53 + 8])),
      'weights/not-safetensors',
    ],
    [
      'a range at the end of exact numbers',
      fileOf(entry('F32', [1], [2 ** 53 - 5, 2 ** 53 - 1])),
      'weights/inconsistent',
    ],
    [
      'more axes than any tensor',
      fileOf(entry('F32', Array(9).fill(1), [0, 4]), 4),
      'weights/not-safetensors',
    ],
    ['a hole', fileOf(entry('F32', [1], [4, 8])), 'weights/inconsistent'],
    ['bytes of no tensor', fileOf(entry('F32', [1], [0, 4])), 'weights/inconsistent'],
    [
      'an overlap',
      fileOf({
        ...entry('F32', [2], [0, 8]),
        u: { dtype: 'F32', shape: [1], data_offsets: [4, 8] },
      }),
      'weights/inconsistent',
    ],
  ])('%s', async (_, file, code) => {
    await expect(readSafetensors(bytesSource(file))).rejects.toMatchObject({ code });
  });

  test('entries that stand twice, whatever their names hold', async () => {
    const part = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}';
    for (const name of ['t', '__metadata__', 'a\\"b', '__proto__']) {
      const value = name === '__metadata__' ? '{"a":":"}' : part;
      const twice = fileOf(`{"${name}":${value},"${name}":${value}}`);
      await expect(readSafetensorsHeader(bytesSource(twice))).rejects.toMatchObject({
        code: 'weights/duplicate',
      });
    }
    const odd = fileOf(`{"__metadata__":{"a":"}:{","b":":"},"t\\":{":${part}}`);
    const { entries } = await readSafetensorsHeader(bytesSource(odd));
    expect([...entries.keys()]).toEqual(['t":{']);
  });

  test('a header nested a million times, and one text of megabytes', async () => {
    for (const hostile of ['['.repeat(1e6), `{"${'\\\\'.repeat(2e6)}":1}`, '{"a":'.repeat(1e6)]) {
      await expect(readSafetensorsHeader(bytesSource(fileOf(hostile)))).rejects.toMatchObject({
        code: 'weights/not-safetensors',
      });
    }
  });

  test('a file cut anywhere', async () => {
    const good = writeSafetensors(pair);
    for (let cut = 0; cut < good.length; cut++) {
      await expect(
        readSafetensorsHeader(bytesSource(good.subarray(0, cut))),
        `cut at ${cut}`,
      ).rejects.toMatchObject({ code: 'weights/truncated' });
    }
  });

  test('any change of a good file is read or refused by name', async () => {
    const good = writeSafetensors(pair);
    const change = fc.tuple(fc.nat(good.length - 1), fc.nat(255));
    await fc.assert(
      fc.asyncProperty(
        fc.array(change, { maxLength: 3 }),
        fc.nat(good.length),
        async (changes, cut) => {
          const copy = good.slice(0, changes.length === 0 ? cut : good.length);
          for (const [at, byte] of changes) copy[at] = byte;
          await readSafetensors(bytesSource(copy)).catch((error: unknown) => {
            expect(error).toBeInstanceOf(RapportError);
          });
        },
      ),
      { numRuns: 500 },
    );
  });
});
