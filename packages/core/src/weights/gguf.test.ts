import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { buildGguf, type BuiltGguf } from '../../../../tests/support/gguf-builder.ts';
import { ggufMetadata, ggufTensors } from '../../../../tests/support/tiny-gguf.ts';
import { tinyCheckpoint } from '../../../../tests/support/tiny.ts';
import { RapportError } from '../error.ts';
import { bytesSource, type ByteSource } from './byte-source.ts';
import { openGguf } from './gguf-checkpoint.ts';
import { readGguf } from './gguf.ts';

let good: BuiltGguf;
beforeAll(async () => {
  const tiny = await tinyCheckpoint('llama-tied');
  good = buildGguf(ggufMetadata(tiny.config), await ggufTensors(tiny));
});

/** The good file with some bytes replaced. */
function patched(at: number, ...bytes: number[]): ByteSource {
  const copy = good.bytes.slice();
  copy.set(bytes, at);
  return bytesSource(copy);
}

const huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
const code = (value: string) => expect.objectContaining({ code: value });

/** Where the value type of a key stands. */
function typeAt(key: string): number {
  const text = new TextEncoder().encode(key);
  const at = good.bytes.findIndex((_, i) => text.every((byte, k) => good.bytes[i + k] === byte));
  return at + text.length;
}

describe('a damaged GGUF file is a named error', () => {
  test('empty, or cut anywhere', async () => {
    const { bytes, metadataAt, tensorsAt, dataAt } = good;
    const cuts = [0, 3, 4, 8, 16, metadataAt - 1, metadataAt + 4, metadataAt + 30, tensorsAt - 1];
    for (const cut of [
      ...cuts,
      tensorsAt + 3,
      tensorsAt + 40,
      dataAt - 1,
      dataAt,
      bytes.length - 33,
    ]) {
      const cutFile = bytesSource(bytes.subarray(0, cut));
      await expect(readGguf(cutFile), `cut at ${cut}`).rejects.toEqual(code('weights/truncated'));
    }
  });

  test('cut at every byte of its header, and where each tensor ends', async () => {
    const { bytes, dataAt } = good;
    for (let cut = 0; cut <= dataAt; cut++) {
      const cutFile = bytesSource(bytes.subarray(0, cut));
      await expect(readGguf(cutFile), `cut at ${cut}`).rejects.toEqual(code('weights/truncated'));
    }
    const { tensors } = await readGguf(bytesSource(bytes));
    for (const { offset, sizeBytes } of tensors.values()) {
      const cutFile = bytesSource(bytes.subarray(0, offset + sizeBytes - 1));
      await expect(readGguf(cutFile)).rejects.toEqual(code('weights/truncated'));
    }
  });

  test('with something appended to it', async () => {
    const longer = new Uint8Array(good.bytes.length + 1);
    longer.set(good.bytes);
    await expect(readGguf(bytesSource(longer))).rejects.toEqual(code('weights/oversized'));
  });

  test('another kind of file', async () => {
    await expect(readGguf(patched(0, 0x50, 0x4b))).rejects.toEqual(code('weights/not-gguf'));
  });

  test.each([1, 4, 0x03000000])('version %i', async (version) => {
    const bytes = new Uint8Array(Uint32Array.of(version).buffer);
    await expect(readGguf(patched(4, ...bytes))).rejects.toEqual(code('weights/gguf-version'));
  });

  test('more tensors or keys than the file could hold', async () => {
    for (const at of [8, 16]) {
      await expect(readGguf(patched(at, ...huge))).rejects.toEqual(code('weights/oversized'));
      const many = [0xff, 0xff, 0x3f, 0, 0, 0, 0, 0];
      await expect(readGguf(patched(at, ...many))).rejects.toEqual(code('weights/truncated'));
    }
  });

  test('a key or a text longer than the file', async () => {
    await expect(readGguf(patched(good.metadataAt, ...huge))).rejects.toEqual(
      code('weights/oversized'),
    );
    const long = patched(good.metadataAt, 0, 0, 0, 0x10, 0, 0, 0, 0);
    await expect(readGguf(long)).rejects.toEqual(code('weights/truncated'));
  });

  test('a list longer than the file', async () => {
    const at = typeAt('tokenizer.ggml.tokens') + 8;
    await expect(readGguf(patched(at, ...huge))).rejects.toEqual(code('weights/oversized'));
    const long = patched(at, 0xff, 0xff, 0x0f, 0, 0, 0, 0, 0);
    await expect(readGguf(long)).rejects.toEqual(code('weights/truncated'));
  });

  test('lists that are too long together', async () => {
    const list = { u8s: new Uint8Array(2 ** 21) };
    const lists = (count: number) =>
      buildGguf(
        Array.from({ length: count }, (_, i) => [`list ${i}`, list] as const),
        [],
      );
    expect((await readGguf(bytesSource(lists(1).bytes))).metadata.size).toBe(1);
    await expect(readGguf(bytesSource(lists(3).bytes))).rejects.toEqual(code('weights/oversized'));
  });

  test('a value of a type that is not defined, and a list of lists', async () => {
    const value = patched(typeAt('llama.block_count'), 13);
    await expect(readGguf(value)).rejects.toEqual(code('weights/unknown-type'));
    const list = patched(typeAt('tokenizer.ggml.tokens') + 4, 9);
    await expect(readGguf(list)).rejects.toEqual(code('weights/unknown-type'));
  });

  test('a text that is not UTF-8', async () => {
    const file = patched(typeAt('general.architecture') + 12, 0xff);
    await expect(readGguf(file)).rejects.toEqual(code('weights/not-utf8'));
  });

  test('a key or a tensor that stands twice', async () => {
    const value = { u32: 1 };
    const twice = buildGguf(
      [
        ['a', value],
        ['a', value],
      ],
      [],
    );
    await expect(readGguf(bytesSource(twice.bytes))).rejects.toEqual(code('weights/duplicate'));
    const tensor = { name: 't', shape: [8], type: 0, bytes: new Uint8Array(32) };
    const pair = buildGguf([], [tensor, tensor]);
    await expect(readGguf(bytesSource(pair.bytes))).rejects.toEqual(code('weights/duplicate'));
  });

  test.each([
    ['no dimensions', [], 0, 'weights/inconsistent'],
    ['five dimensions', [1, 1, 1, 1, 1], 0, 'weights/inconsistent'],
    ['a dimension of zero', [0, 8], 0, 'weights/inconsistent'],
    ['more numbers than can be counted', [2 ** 40, 2 ** 40], 0, 'weights/inconsistent'],
    ['more numbers than the file has', [2 ** 20, 64], 0, 'weights/truncated'],
    ['rows that are no whole blocks', [2, 48], 3, 'weights/inconsistent'],
    ['a storage format that is not read', [256], 16, 'weights/unknown-format'],
    ['a storage format that does not exist', [256], 4096, 'weights/unknown-format'],
  ])('a tensor with %s', async (_, shape, type, want) => {
    const file = buildGguf([], [{ name: 't', shape, type, bytes: new Uint8Array(64) }]);
    await expect(readGguf(bytesSource(file.bytes))).rejects.toEqual(code(want));
  });

  test('tensors that overlap, are not aligned, or leave a hole', async () => {
    const tensor = (name: string) => ({ name, shape: [16], type: 0, bytes: new Uint8Array(64) });
    const { bytes, tensorsAt } = buildGguf([], [tensor('a'), tensor('b')]);
    const secondOffset = tensorsAt + 2 * (8 + 1 + 4 + 8 + 4 + 8) - 8;
    for (const offset of [32, 65, 96]) {
      const copy = bytes.slice();
      copy[secondOffset] = offset;
      await expect(readGguf(bytesSource(copy))).rejects.toEqual(code('weights/inconsistent'));
    }
  });

  test.each([0, 3, 48, 2 ** 31])('an alignment of %i', async (alignment) => {
    const file = buildGguf([['general.alignment', { u32: alignment }]], []);
    await expect(readGguf(bytesSource(file.bytes))).rejects.toEqual(code('weights/inconsistent'));
  });

  test('a source that delivers less than it promised', async () => {
    const short: ByteSource = {
      sizeBytes: good.bytes.length,
      read: (offset, length) =>
        Promise.resolve(good.bytes.subarray(offset, offset + Math.min(length, 100))),
    };
    await expect(readGguf(short)).rejects.toEqual(code('weights/truncated'));
  });

  test.each([
    [
      'a key of 8 GiB',
      () => good.metadataAt,
      [0, 0, 0, 0, 2, 0, 0, 0],
      /metadata key .* 8589934592,/,
    ],
    [
      '8 million texts',
      () => typeAt('tokenizer.ggml.tokens') + 8,
      [0, 0, 0x80],
      /tokens .* 8388608,/,
    ],
  ])('%s in a large file is never asked for', async (_, at, length, message) => {
    const reads: number[] = [];
    const { read } = patched(at(), ...length);
    const large: ByteSource = {
      sizeBytes: 2 ** 40,
      async read(offset, wanted) {
        reads.push(wanted);
        const bytes = new Uint8Array(wanted);
        bytes.set(await read(offset, wanted));
        return bytes;
      },
    };
    await expect(readGguf(large)).rejects.toMatchObject({
      code: 'weights/oversized',
      message: expect.stringMatching(message),
    });
    expect(Math.max(...reads)).toBeLessThanOrEqual(1 << 20);
  });
});

describe('whatever the bytes are', () => {
  test('noise is refused by name', async () => {
    const header = [...good.bytes.subarray(0, 8)];
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), async (noise) => {
        await opensOrRefuses(noise);
        await opensOrRefuses(Uint8Array.of(...header, ...noise));
      }),
      { numRuns: 300 },
    );
  });

  test('a header of other values, types, shapes and formats opens or is refused by name', async () => {
    const tiny = await tinyCheckpoint('llama-tied');
    const [metadata, tensors] = [ggufMetadata(tiny.config), await ggufTensors(tiny)];
    const number = fc.constantFrom(0, 1, 2, 7, 63, 64, 65, 4096, 2 ** 24, 2 ** 31, 2 ** 32 - 1);
    const value = fc.oneof(
      fc.record({ u32: number }),
      fc.record({ f32: fc.float() }),
      fc.record({ text: fc.oneof(fc.string({ unit: 'binary' }), fc.constant('llama')) }),
      fc.record({ flag: fc.boolean() }),
      fc.record({
        texts: fc.array(fc.constantFrom('a', 'b', 'a b', '__proto__', 'constructor', '')),
      }),
      fc.record({ i32s: fc.array(fc.integer({ min: -4, max: 9 })) }),
    );
    const dimension = fc.constantFrom(1, 2, 8, 31, 32, 64, 256, 2 ** 20, 2 ** 33, 2 ** 52);
    const change = fc.record(
      {
        shape: fc.array(dimension, { maxLength: 5 }),
        type: fc.constantFrom(0, 1, 2, 3, 8, 12, 14, 16, 30, 99),
        name: fc.constantFrom(
          'blk.0.attn_q.bias',
          'output.weight',
          'blk.00.attn_q.weight',
          '',
          'blk.1e3.x.weight',
        ),
        bytes: fc.uint8Array({ maxLength: 300 }),
      },
      { requiredKeys: [] },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.tuple(fc.constantFrom(...metadata.keys()), fc.option(value, { nil: undefined })),
          {
            maxLength: 2,
          },
        ),
        fc.array(fc.tuple(fc.nat(tensors.length - 1), change), { maxLength: 2 }),
        async (entries, changes) => {
          const header = new Map(metadata);
          for (const [key, entry] of entries) {
            if (entry) header.set(key, entry);
            else header.delete(key);
          }
          const list = [...tensors];
          for (const [i, different] of changes) list[i] = { ...list[i]!, ...different };
          await opensOrRefuses(buildGguf(header, list).bytes);
        },
      ),
      { numRuns: 300 },
    );
  });

  test('a good file with changed bytes opens or is refused by name', async () => {
    const change = fc.tuple(fc.nat(good.dataAt - 1), fc.nat(255));
    const cut = fc.nat(good.bytes.length);
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 4 }), fc.option(cut), async (changes, end) => {
        const copy = good.bytes.slice(0, end ?? good.bytes.length);
        for (const [at, byte] of changes) if (at < copy.length) copy[at] = byte;
        await opensOrRefuses(copy);
      }),
      { numRuns: 400 },
    );
  });
});

async function opensOrRefuses(bytes: Uint8Array): Promise<void> {
  try {
    const checkpoint = await openGguf(bytesSource(bytes));
    for (const name of checkpoint.tensors.keys()) await checkpoint.read(name);
  } catch (error) {
    expect(error).toBeInstanceOf(RapportError);
  }
}
