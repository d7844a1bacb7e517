// Safetensors files: eight bytes of length, a JSON header, then the numbers.
// Format: https://github.com/huggingface/safetensors#format
// Knows nothing of models; adapters use it too.
import { RapportError } from '../error.ts';
import { readExactly, truncated, type ByteSource } from './byte-source.ts';
import { dequantise, FORMATS } from './formats.ts';

/** Where a tensor stands in a safetensors file. */
export interface SafetensorsEntry {
  readonly shape: readonly number[];
  readonly format: 'F32' | 'F16' | 'BF16';
  /** From the start of the file. */
  readonly offset: number;
  readonly sizeBytes: number;
}

/** fp32 numbers with their shape. */
export interface NamedTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

export interface Safetensors {
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  /** The texts under `__metadata__`. */
  readonly metadata: ReadonlyMap<string, string>;
}

/** The limit of the reference implementation. */
const maxHeaderBytes = 100_000_000;

/**
 * Reads the header of a safetensors file.
 *
 * @throws RapportError `weights/truncated`, `weights/oversized`, `weights/not-safetensors`,
 * `weights/unknown-format`, `weights/duplicate` or `weights/inconsistent` (ranges that do not fit shapes, overlap or
 * leave holes).
 */
export async function readSafetensorsHeader(source: ByteSource): Promise<Safetensors> {
  const head = await readExactly(source, 0, 8, 'the safetensors header');
  const length = new DataView(head.buffer, head.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(maxHeaderBytes)) {
    throw new RapportError(
      'weights/oversized',
      `The safetensors header claims ${length} bytes; at most ${maxHeaderBytes} are allowed.`,
      'Choose a file that ends in .safetensors; this one is damaged or something else.',
    );
  }
  const start = 8 + Number(length);
  const header = parseHeader(
    await readExactly(source, 8, Number(length), 'the safetensors header'),
  );
  const { __metadata__: metadata = {}, ...tensors } = header;
  const entries = new Map<string, SafetensorsEntry>();
  for (const [name, value] of Object.entries(tensors))
    entries.set(name, entryOf(name, value, start));
  checkCoverage(entries, start, source.sizeBytes);
  return { entries, metadata: textsOf(metadata) };
}

/** fp32 numbers of one entry. */
export async function readEntry(
  source: ByteSource,
  name: string,
  entry: SafetensorsEntry,
): Promise<Float32Array> {
  const bytes = await readExactly(source, entry.offset, entry.sizeBytes, `tensor ${name}`);
  return dequantise(entry.format, bytes, countOf(entry.shape));
}

/** All tensors of a safetensors file as fp32; for small files such as adapters. */
export async function readSafetensors(source: ByteSource): Promise<Map<string, NamedTensor>> {
  const { entries } = await readSafetensorsHeader(source);
  const tensors = new Map<string, NamedTensor>();
  for (const [name, entry] of entries) {
    tensors.set(name, { shape: entry.shape, data: await readEntry(source, name, entry) });
  }
  return tensors;
}

/**
 * A safetensors file of fp32 tensors, sorted by name: the same tensors always give the same bytes.
 *
 * @param metadata texts for `__metadata__`; PyTorch's readers want `format: 'pt'`.
 */
export function writeSafetensors(
  tensors: ReadonlyMap<string, NamedTensor>,
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): Uint8Array<ArrayBuffer> {
  const sorted = [...tensors].sort(([a], [b]) => (a < b ? -1 : 1));
  const header: Record<string, unknown> = { __metadata__: metadata };
  let end = 0;
  for (const [name, { shape, data }] of sorted) {
    if (countOf(shape) !== data.length || name === '__metadata__') throw unfit(name, shape, data);
    const begin = end;
    end += data.length * 4;
    header[name] = { dtype: 'F32', shape, data_offsets: [begin, end] };
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  // Padded with spaces so that the numbers begin at a multiple of eight.
  const headerBytes = Math.ceil(json.length / 8) * 8;
  const file = new Uint8Array(8 + headerBytes + end);
  const view = new DataView(file.buffer);
  view.setBigUint64(0, BigInt(headerBytes), true);
  file.fill(0x20, 8, 8 + headerBytes);
  file.set(json, 8);
  let at = 8 + headerBytes;
  for (const [, { data }] of sorted) {
    for (let i = 0; i < data.length; i++, at += 4) view.setFloat32(at, data[i]!, true);
  }
  return file;
}

// --- header -----------------------------------------------------------------------------------

function parseHeader(bytes: Uint8Array): Record<string, unknown> {
  let text: string;
  let header: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    header = JSON.parse(text);
  } catch (cause) {
    throw notSafetensors('its header is not JSON', cause);
  }
  if (!isRecord(header)) throw notSafetensors('its header is not a JSON object');
  const twice = entriesIn(text) - Object.keys(header).length;
  if (twice > 0) throw duplicate(twice);
  return header;
}

/** Entries of the outermost object as they are written; `JSON.parse` keeps one of several alike. */
function entriesIn(json: string): number {
  let depth = 0;
  let entries = 0;
  let inText = false;
  for (let i = 0; i < json.length; i++) {
    const letter = json[i]!;
    if (inText) {
      if (letter === '\\') i++;
      else if (letter === '"') inText = false;
    } else if (letter === '"') inText = true;
    else if (letter === '{' || letter === '[') depth++;
    else if (letter === '}' || letter === ']') depth--;
    else if (letter === ':' && depth === 1) entries++;
  }
  return entries;
}

function entryOf(name: string, value: unknown, start: number): SafetensorsEntry {
  if (!isRecord(value)) throw notSafetensors(`the entry ${JSON.stringify(name)} is not an object`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16') {
    throw new RapportError(
      'weights/unknown-format',
      `Tensor ${name} is stored as ${JSON.stringify(dtype)}; F32, F16 and BF16 are read.`,
      'Use a checkpoint saved in one of these types.',
    );
  }
  if (!isSizes(shape) || shape.length > 8 || !isSizes(offsets) || offsets.length !== 2) {
    throw notSafetensors(`the entry ${JSON.stringify(name)} has no usable shape or range`);
  }
  const [begin, end] = offsets as [number, number];
  const sizeBytes = countOf(shape) * FORMATS[dtype].blockBytes;
  if (end - begin !== sizeBytes) {
    throw inconsistent(
      `${name} [${shape.join(', ')}] takes ${sizeBytes} bytes, its range ${end - begin}`,
    );
  }
  return { shape, format: dtype, offset: start + begin, sizeBytes };
}

/** The ranges must fill the file from the header to the end, without holes or overlaps. */
function checkCoverage(
  entries: ReadonlyMap<string, SafetensorsEntry>,
  start: number,
  fileBytes: number,
): void {
  let end = start;
  // Where one begins that has no numbers, the next begins as well.
  const inOrder = [...entries].sort(
    ([, a], [, b]) => a.offset - b.offset || a.sizeBytes - b.sizeBytes,
  );
  for (const [name, entry] of inOrder) {
    if (entry.offset !== end)
      throw inconsistent(`${name} does not begin where the one before ends`);
    end += entry.sizeBytes;
  }
  if (end > fileBytes) throw truncated('the tensors', end, fileBytes);
  if (end < fileBytes) throw inconsistent(`${fileBytes - end} bytes belong to no tensor`);
}

function textsOf(metadata: unknown): Map<string, string> {
  if (!isRecord(metadata)) throw notSafetensors('__metadata__ is not an object');
  const texts = new Map<string, string>();
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== 'string') throw notSafetensors(`__metadata__ ${key} is not text`);
    texts.set(key, value);
  }
  return texts;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);

const countOf = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);

// --- errors -----------------------------------------------------------------------------------

function notSafetensors(found: string, cause?: unknown): RapportError {
  return new RapportError(
    'weights/not-safetensors',
    `This is not a usable safetensors file: ${found}.`,
    'Choose a file that ends in .safetensors, or download it again.',
    { cause },
  );
}

function duplicate(count: number): RapportError {
  return new RapportError(
    'weights/duplicate',
    `${count} entries of the safetensors header stand twice.`,
    'Use a file written by a current version of safetensors.',
  );
}

function inconsistent(found: string): RapportError {
  return new RapportError(
    'weights/inconsistent',
    `The safetensors header does not hold together: ${found}.`,
    'Download the file again, or use one written by a current version of safetensors.',
  );
}

function unfit(name: string, shape: readonly number[], data: Float32Array): RapportError {
  return new RapportError(
    'weights/inconsistent',
    `${name} cannot be written: ${data.length} numbers for the shape [${shape.join(', ')}].`,
    'Give each tensor as many numbers as its shape has places.',
  );
}
