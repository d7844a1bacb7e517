// GGUF files: header, metadata and tensor list, read by streaming.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
// Knows nothing of models: what the keys and names mean is in gguf-checkpoint.ts.
import { RapportError } from '../error.ts';
import { ByteCursor, oversized } from './byte-cursor.ts';
import { truncated, type ByteSource } from './byte-source.ts';
import { FORMATS, type FormatName } from './formats.ts';

/** A metadata value. 64-bit integers come as numbers; arrays of numbers as plain lists. */
export type GgufValue = number | boolean | string | readonly (number | boolean | string)[];

/** Where a tensor's bytes stand in the file. */
export interface GgufTensor {
  /** Rows first: the reverse of the order in the file. */
  readonly shape: readonly number[];
  readonly format: FormatName;
  readonly offset: number;
  readonly sizeBytes: number;
}

export interface Gguf {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

const magic = 0x46554747; // "GGUF"
/** More entries than any vocabulary has, with all that is said of it; so many are an attack on memory. */
const maxEntries = 1 << 22;
const stringType = 8;
const arrayType = 9;

interface Scalar {
  readonly bytes: number;
  read(view: DataView, at: number): number | boolean;
}

const scalars: Readonly<Record<number, Scalar>> = {
  0: { bytes: 1, read: (v, at) => v.getUint8(at) },
  1: { bytes: 1, read: (v, at) => v.getInt8(at) },
  2: { bytes: 2, read: (v, at) => v.getUint16(at, true) },
  3: { bytes: 2, read: (v, at) => v.getInt16(at, true) },
  4: { bytes: 4, read: (v, at) => v.getUint32(at, true) },
  5: { bytes: 4, read: (v, at) => v.getInt32(at, true) },
  6: { bytes: 4, read: (v, at) => v.getFloat32(at, true) },
  7: { bytes: 1, read: (v, at) => v.getUint8(at) !== 0 },
  10: { bytes: 8, read: (v, at) => Number(v.getBigUint64(at, true)) },
  11: { bytes: 8, read: (v, at) => Number(v.getBigInt64(at, true)) },
  12: { bytes: 8, read: (v, at) => v.getFloat64(at, true) },
};

/** Type numbers of ggml: https://github.com/ggml-org/ggml/blob/master/include/ggml.h (ggml_type). */
const formatOfType: Readonly<Record<number, FormatName>> = {
  0: 'F32',
  1: 'F16',
  2: 'Q4_0',
  3: 'Q4_1',
  6: 'Q5_0',
  7: 'Q5_1',
  8: 'Q8_0',
  10: 'Q2_K',
  11: 'Q3_K',
  12: 'Q4_K',
  13: 'Q5_K',
  14: 'Q6_K',
  20: 'IQ4_NL',
  30: 'BF16',
};

/**
 * Reads everything in a GGUF file but the weights. Every length is compared with the size of the
 * file before anything is allocated for it.
 *
 * @throws RapportError `weights/not-gguf`, `weights/gguf-version`, `weights/truncated`,
 * `weights/oversized`, `weights/unknown-type`, `weights/unknown-format`, `weights/duplicate`,
 * `weights/not-utf8` or `weights/inconsistent`.
 */
export async function readGguf(source: ByteSource): Promise<Gguf> {
  const cursor = new ByteCursor(source);
  await cursor.need(24, 'the GGUF header');
  checkMagic(cursor);
  const tensorCount = cursor.takeLength('the tensor list');
  const entryCount = cursor.takeLength('the metadata');
  const metadata = await readMetadata(cursor, entryCount);
  const infos = await readTensorInfos(cursor, tensorCount);
  const start = alignUp(cursor.offset, alignmentOf(metadata));
  return { metadata, tensors: placeTensors(infos, start, alignmentOf(metadata), source.sizeBytes) };
}

function checkMagic(cursor: ByteCursor): void {
  if (cursor.take(4, (v, at) => v.getUint32(at, true)) !== magic) {
    throw new RapportError(
      'weights/not-gguf',
      'The file does not begin with "GGUF".',
      'Choose a model file that ends in .gguf.',
    );
  }
  const version = cursor.take(4, (v, at) => v.getUint32(at, true));
  if (version !== 2 && version !== 3) {
    throw new RapportError(
      'weights/gguf-version',
      `The file is GGUF version ${version}; little-endian versions 2 and 3 are read.`,
      'Convert the model with a current version of llama.cpp.',
    );
  }
}

// --- metadata ---------------------------------------------------------------------------------

async function readMetadata(cursor: ByteCursor, count: number): Promise<Map<string, GgufValue>> {
  const metadata = new Map<string, GgufValue>();
  checkCount(cursor, count, 8 + 4 + 1, 'the metadata');
  for (let i = 0; i < count; i++) {
    const key = await readString(cursor, 'a metadata key');
    if (metadata.has(key)) throw duplicate('metadata key', key);
    metadata.set(key, await readValue(cursor, key));
  }
  return metadata;
}

async function readValue(cursor: ByteCursor, key: string): Promise<GgufValue> {
  const type = await readType(cursor, key);
  if (type === stringType) return readString(cursor, key);
  if (type === arrayType) return readArray(cursor, key);
  return readScalar(cursor, type, key);
}

async function readType(cursor: ByteCursor, key: string): Promise<number> {
  await cursor.need(4, key);
  return cursor.take(4, (v, at) => v.getUint32(at, true));
}

async function readScalar(
  cursor: ByteCursor,
  type: number,
  key: string,
): Promise<number | boolean> {
  const { bytes, read } = scalarOf(type, key);
  await cursor.need(bytes, key);
  return cursor.take(bytes, read);
}

async function readString(cursor: ByteCursor, what: string): Promise<string> {
  // Awaiting only when the window is used up keeps the hundred thousand strings of a vocabulary fast.
  const head = cursor.need(8, what);
  if (head) await head;
  const length = cursor.takeLength(what);
  const body = cursor.need(length, what);
  if (body) await body;
  return cursor.takeText(length, what);
}

async function readArray(cursor: ByteCursor, key: string): Promise<GgufValue> {
  const type = await readType(cursor, key);
  await cursor.need(8, key);
  const count = cursor.takeLength(key);
  cursor.listed += count;
  if (cursor.listed > maxEntries) throw oversized(key, count);
  if (type === stringType) return readStrings(cursor, count, key);
  const { bytes, read } = scalarOf(type, key);
  checkCount(cursor, count, bytes, key);
  const values: (number | boolean)[] = [];
  for (let i = 0; i < count; i++) {
    const filled = cursor.need(bytes, key);
    if (filled) await filled;
    values.push(cursor.take(bytes, read));
  }
  return values;
}

async function readStrings(cursor: ByteCursor, count: number, key: string): Promise<string[]> {
  checkCount(cursor, count, 8, key);
  const strings: string[] = [];
  for (let i = 0; i < count; i++) strings.push(await readString(cursor, key));
  return strings;
}

function scalarOf(type: number, key: string): Scalar {
  const scalar = scalars[type];
  if (scalar) return scalar;
  throw new RapportError(
    'weights/unknown-type',
    `The metadata key ${JSON.stringify(key)} has the value type ${type}, which GGUF does not define here.`,
    'Download the file again, or use another one: its header is damaged.',
  );
}

// --- tensors ----------------------------------------------------------------------------------

interface TensorRecord {
  readonly name: string;
  readonly shape: readonly number[];
  readonly format: FormatName;
  /** From the start of the data section. */
  readonly offset: number;
}

async function readTensorInfos(cursor: ByteCursor, count: number): Promise<TensorRecord[]> {
  checkCount(cursor, count, 8 + 4 + 8 + 4 + 8, 'the tensor list');
  const infos: TensorRecord[] = [];
  for (let i = 0; i < count; i++) {
    const name = await readString(cursor, 'a tensor name');
    await cursor.need(4, name);
    const rank = cursor.take(4, (v, at) => v.getUint32(at, true));
    if (rank < 1 || rank > 4) throw inconsistent(`Tensor ${name} has ${rank} dimensions`);
    await cursor.need(rank * 8 + 12, name);
    const shape = Array.from({ length: rank }, () => cursor.takeLength(name)).reverse();
    const format = formatOf(
      cursor.take(4, (v, at) => v.getUint32(at, true)),
      name,
    );
    infos.push({ name, shape, format, offset: cursor.takeLength(name) });
  }
  return infos;
}

function formatOf(type: number, name: string): FormatName {
  const format = formatOfType[type];
  if (format) return format;
  throw new RapportError(
    'weights/unknown-format',
    `Tensor ${name} is stored in ggml type ${type}, which is not read.`,
    `Use a file quantised as one of ${Object.keys(FORMATS).join(', ')}.`,
  );
}

function placeTensors(
  infos: readonly TensorRecord[],
  start: number,
  alignment: number,
  fileBytes: number,
): Map<string, GgufTensor> {
  const tensors = new Map<string, GgufTensor>();
  let free = 0;
  for (const { name, shape, format, offset } of [...infos].sort((a, b) => a.offset - b.offset)) {
    if (tensors.has(name)) throw duplicate('tensor', name);
    const sizeBytes = sizeOf(name, shape, format);
    const expected = alignUp(free, alignment);
    if (offset !== expected) {
      throw inconsistent(
        `Tensor ${name} begins at ${offset}, not where the one before ends: ${expected}`,
      );
    }
    free = offset + sizeBytes;
    if (start + free > fileBytes) throw truncated(`tensor ${name}`, start + free, fileBytes);
    tensors.set(name, { shape, format, offset: start + offset, sizeBytes });
  }
  const left = fileBytes - start - alignUp(free, alignment);
  if (left > 0) throw longerThanItSays(left);
  return tensors;
}

function sizeOf(name: string, shape: readonly number[], format: FormatName): number {
  const { blockSize, blockBytes } = FORMATS[format];
  const rowLength = shape.at(-1)!;
  const count = shape.reduce((n, d) => n * d, 1);
  if (count < 1 || count > Number.MAX_SAFE_INTEGER / 8) {
    throw inconsistent(`Tensor ${name} has the shape [${shape.join(', ')}]`);
  }
  if (rowLength % blockSize) {
    throw inconsistent(
      `Rows of ${name} have ${rowLength} numbers, ${format} needs whole ${blockSize}s`,
    );
  }
  return (count / blockSize) * blockBytes;
}

function alignmentOf(metadata: ReadonlyMap<string, GgufValue>): number {
  const alignment = metadata.get('general.alignment') ?? 32;
  if (typeof alignment === 'number' && alignment >= 8 && alignment <= 1 << 20) {
    if (Number.isInteger(Math.log2(alignment))) return alignment;
  }
  throw inconsistent(`general.alignment is ${String(alignment)}`);
}

const alignUp = (offset: number, alignment: number) => Math.ceil(offset / alignment) * alignment;

// --- errors -----------------------------------------------------------------------------------

/** Refuses a count whose smallest possible size already exceeds what is left of the file. */
function checkCount(cursor: ByteCursor, count: number, leastBytes: number, what: string): void {
  if (count > maxEntries) throw oversized(what, count);
  if (count * leastBytes > cursor.leftBytes) {
    throw truncated(`${what} (${count} entries)`, count * leastBytes, cursor.leftBytes);
  }
}

function longerThanItSays(left: number): RapportError {
  return new RapportError(
    'weights/oversized',
    `The file is ${left} bytes longer than its tensors.`,
    'Download the file again: another one may have been appended to it.',
  );
}

function duplicate(kind: string, name: string): RapportError {
  return new RapportError(
    'weights/duplicate',
    `The ${kind} ${JSON.stringify(name)} stands twice in the file.`,
    'Use a file written by a current converter.',
  );
}

function inconsistent(found: string): RapportError {
  return new RapportError(
    'weights/inconsistent',
    `${found}.`,
    'Download the file again, or use one written by a current converter.',
  );
}
