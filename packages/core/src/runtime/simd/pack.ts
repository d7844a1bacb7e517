// Weight matrices in the order the kernels read them. Four rows form a group; a group is a row of
// blocks, and a block of four rows holds, in fp32 and int:
//   4 bits  step[4], min[4], 64 bytes: byte 4j+e of vector v has numbers 8v+e (low) and 8v+4+e (high) of row j
//   8 bits  step[4], (min[4]), 16-byte vectors v: byte 4j+e has number 4v+e of row j
//   fp32    four numbers, one per row
// The integers are those of the file; x = step · q + min. Nothing here knows a file or a kernel's code.
import { RapportError, assert } from '../../error.ts';
import { IQ4_NL_LEVELS } from '../../weights/formats.ts';
import { FP16 } from '../../weights/half.ts';

/** How a weight matrix [rows, width] is laid out for the kernels. */
export interface Layout {
  readonly bits: 4 | 8 | 32;
  readonly rows: number;
  readonly width: number;
  /** Numbers that share a step (1 for fp32). */
  readonly size: number;
  /** Whether 8-bit blocks have a minimum; 4-bit blocks always do. */
  readonly hasMin: boolean;
}

/** A laid-out matrix and its bytes. */
export interface Packed extends Layout {
  readonly bytes: Uint8Array;
}

/** Blocks as a file stores them: the integers, and per `size` of them a step and a minimum. */
interface Stored {
  readonly blockSize: number;
  readonly blockBytes: number;
  readonly bits: 4 | 8;
  readonly size: 16 | 32;
  readonly hasMin: boolean;
  read(bytes: Uint8Array, at: number, into: Block): void;
}

interface Block {
  readonly codes: Uint8Array;
  readonly steps: Float32Array;
  readonly mins: Float32Array;
}

const half = (bytes: Uint8Array, at: number): number => FP16[bytes[at]! | (bytes[at + 1]! << 8)]!;

/** 16 bytes with numbers i (low) and i + 16 (high). */
function nibbles(bytes: Uint8Array, from: number, codes: Uint8Array): void {
  for (let i = 0; i < 16; i++) {
    const pair = bytes[from + i]!;
    codes[i] = pair & 15;
    codes[i + 16] = pair >> 4;
  }
}

/** Adds the fifth bits of 32 numbers and an offset, modulo 256. */
function fifthBits(bytes: Uint8Array, from: number, codes: Uint8Array, offset: number): void {
  for (let i = 0; i < 32; i++) {
    codes[i] = (codes[i]! | (((bytes[from + (i >> 3)]! >> (i & 7)) & 1) << 4)) + offset;
  }
}

/** The 256 numbers of two bits of a super-block. */
function pairsOfBits(bytes: Uint8Array, from: number, codes: Uint8Array): void {
  for (let i = 0; i < 256; i++) {
    codes[i] = (bytes[from + (i >> 7) * 32 + (i & 31)]! >> (((i >> 5) & 3) * 2)) & 3;
  }
}

function superScales(bytes: Uint8Array, at: number, { steps, mins }: Block): void {
  const d = half(bytes, at);
  const dmin = half(bytes, at + 2);
  const s = at + 4;
  for (let i = 0; i < 4; i++) {
    const [a, b, c] = [bytes[s + i]!, bytes[s + 4 + i]!, bytes[s + 8 + i]!];
    steps[i] = d * (a & 63);
    mins[i] = -dmin * (b & 63);
    steps[i + 4] = d * ((c & 15) | ((a >> 6) << 4));
    mins[i + 4] = -dmin * ((c >> 4) | ((b >> 6) << 4));
  }
}

const STORED: Readonly<Record<string, Stored>> = {
  Q4_0: {
    ...{ blockSize: 32, blockBytes: 18, bits: 4, size: 32, hasMin: true },
    read(bytes, at, { codes, steps, mins }) {
      steps[0] = half(bytes, at);
      mins[0] = -8 * steps[0];
      nibbles(bytes, at + 2, codes);
    },
  },
  Q4_1: {
    ...{ blockSize: 32, blockBytes: 20, bits: 4, size: 32, hasMin: true },
    read(bytes, at, { codes, steps, mins }) {
      steps[0] = half(bytes, at);
      mins[0] = half(bytes, at + 2);
      nibbles(bytes, at + 4, codes);
    },
  },
  Q5_0: {
    ...{ blockSize: 32, blockBytes: 22, bits: 8, size: 32, hasMin: false },
    read(bytes, at, { codes, steps }) {
      steps[0] = half(bytes, at);
      nibbles(bytes, at + 6, codes);
      fifthBits(bytes, at + 2, codes, -16);
    },
  },
  Q5_1: {
    ...{ blockSize: 32, blockBytes: 24, bits: 8, size: 32, hasMin: true },
    read(bytes, at, { codes, steps, mins }) {
      steps[0] = half(bytes, at);
      mins[0] = half(bytes, at + 2);
      nibbles(bytes, at + 8, codes);
      fifthBits(bytes, at + 4, codes, 0);
    },
  },
  Q8_0: {
    ...{ blockSize: 32, blockBytes: 34, bits: 8, size: 32, hasMin: false },
    read(bytes, at, { codes, steps }) {
      steps[0] = half(bytes, at);
      for (let i = 0; i < 32; i++) codes[i] = bytes[at + 2 + i]!;
    },
  },
  IQ4_NL: {
    ...{ blockSize: 32, blockBytes: 18, bits: 8, size: 32, hasMin: false },
    read(bytes, at, { codes, steps }) {
      steps[0] = half(bytes, at);
      nibbles(bytes, at + 2, codes);
      for (let i = 0; i < 32; i++) codes[i] = IQ4_NL_LEVELS[codes[i]!]!;
    },
  },
  Q2_K: {
    ...{ blockSize: 256, blockBytes: 84, bits: 8, size: 16, hasMin: true },
    read(bytes, at, { codes, steps, mins }) {
      const [d, dmin] = [half(bytes, at + 80), half(bytes, at + 82)];
      for (let s = 0; s < 16; s++) {
        steps[s] = d * (bytes[at + s]! & 15);
        mins[s] = -dmin * (bytes[at + s]! >> 4);
      }
      pairsOfBits(bytes, at + 16, codes);
    },
  },
  Q3_K: {
    ...{ blockSize: 256, blockBytes: 110, bits: 8, size: 16, hasMin: false },
    read(bytes, at, { codes, steps }) {
      const d = half(bytes, at + 108);
      for (let s = 0; s < 16; s++) {
        const low = (bytes[at + 96 + (s & 7)]! >> (s < 8 ? 0 : 4)) & 15;
        const high = (bytes[at + 104 + (s & 3)]! >> ((s >> 2) * 2)) & 3;
        steps[s] = d * ((low | (high << 4)) - 32);
      }
      pairsOfBits(bytes, at + 32, codes);
      for (let i = 0; i < 256; i++) {
        const third = (bytes[at + (i & 31)]! >> (i >> 5)) & 1;
        codes[i] = (codes[i]! | (third << 2)) - 4;
      }
    },
  },
  Q4_K: {
    ...{ blockSize: 256, blockBytes: 144, bits: 4, size: 32, hasMin: true },
    read(bytes, at, block) {
      superScales(bytes, at, block);
      for (let i = 0; i < 256; i++) {
        const pair = bytes[at + 16 + (i >> 6) * 32 + (i & 31)]!;
        block.codes[i] = (i & 32) === 0 ? pair & 15 : pair >> 4;
      }
    },
  },
  Q5_K: {
    ...{ blockSize: 256, blockBytes: 176, bits: 8, size: 32, hasMin: true },
    read(bytes, at, block) {
      superScales(bytes, at, block);
      for (let i = 0; i < 256; i++) {
        const pair = bytes[at + 48 + (i >> 6) * 32 + (i & 31)]!;
        const high = (bytes[at + 16 + (i & 31)]! >> (i >> 5)) & 1;
        block.codes[i] = ((i & 32) === 0 ? pair & 15 : pair >> 4) | (high << 4);
      }
    },
  },
  Q6_K: {
    ...{ blockSize: 256, blockBytes: 210, bits: 8, size: 16, hasMin: false },
    read(bytes, at, { codes, steps }) {
      const d = half(bytes, at + 208);
      for (let s = 0; s < 16; s++) steps[s] = d * ((bytes[at + 192 + s]! << 24) >> 24);
      for (let i = 0; i < 256; i++) {
        // Number i: half h, quarter k of the half, lane l.
        const [h, k, l] = [i >> 7, (i >> 5) & 3, i & 31];
        const low = (bytes[at + h * 64 + (k & 1) * 32 + l]! >> ((k >> 1) * 4)) & 15;
        const high = (bytes[at + 128 + h * 32 + l]! >> (k * 2)) & 3;
        codes[i] = (low | (high << 4)) - 32;
      }
    },
  },
};

/** Gives so many bytes, all zero: a multiple of 16, at an address that is one. */
export type Room = (sizeBytes: number) => Uint8Array;

const ofItsOwn: Room = (sizeBytes) => new Uint8Array(sizeBytes);

/** Whether the kernels compute on this block format as it is. */
export const canPack = (format: string): boolean => Object.hasOwn(STORED, format);

/**
 * Repacks quantised rows into `room`; no integer and no scale changes.
 *
 * @throws RapportError `runtime/weights` when bytes, shape and format do not fit each other.
 */
export function pack(
  format: string,
  bytes: Uint8Array,
  rows: number,
  width: number,
  room: Room = ofItsOwn,
): Packed {
  const stored = STORED[format];
  assert(stored, `no kernel for ${format}`);
  const { blockSize, blockBytes, bits, size, hasMin } = stored;
  const perRow = width / blockSize;
  if (!Number.isInteger(perRow) || bytes.byteLength !== rows * perRow * blockBytes) {
    throw new RapportError(
      'runtime/weights',
      `${bytes.byteLength} bytes of ${format} do not hold [${rows}, ${width}].`,
      'Use a file written by a current converter.',
    );
  }
  const groups = Math.ceil(rows / 4);
  const head = hasMin ? 32 : 16;
  const stride = head + size * (bits === 4 ? 2 : 4);
  const out = room(groups * (width / size) * stride);
  const floats = floatsOf(out);
  const block: Block = {
    codes: new Uint8Array(blockSize),
    steps: new Float32Array(blockSize / size),
    mins: new Float32Array(blockSize / size),
  };
  const place = bits === 4 ? placeNibbles : placeBytes;
  for (let row = 0; row < rows; row++) {
    const j = row & 3;
    let to = (row >> 2) * (width / size) * stride;
    for (let b = 0; b < perRow; b++) {
      stored.read(bytes, (row * perRow + b) * blockBytes, block);
      for (let part = 0; part < blockSize / size; part++, to += stride) {
        floats[to / 4 + j] = block.steps[part]!;
        if (hasMin) floats[to / 4 + 4 + j] = block.mins[part]!;
        place(out, to + head + j * 4, block.codes, part * size, size);
      }
    }
  }
  return { bits, rows, width, size, hasMin, bytes: out };
}

function placeNibbles(out: Uint8Array, to: number, codes: Uint8Array, from: number): void {
  for (let v = 0; v < 4; v++) {
    const k = from + v * 8;
    const at = to + v * 16;
    for (let e = 0; e < 4; e++) out[at + e] = codes[k + e]! | (codes[k + 4 + e]! << 4);
  }
}

function placeBytes(
  out: Uint8Array,
  to: number,
  codes: Uint8Array,
  from: number,
  size: number,
): void {
  for (let k = from, at = to; k < from + size; k += 4, at += 16) {
    for (let e = 0; e < 4; e++) out[at + e] = codes[k + e]!;
  }
}

const floatsOf = ({ buffer, byteOffset, byteLength }: Uint8Array): Float32Array =>
  new Float32Array(buffer, byteOffset, byteLength / 4);

/** Packs fp32 rows [rows, width] into `room`. */
export function packFloats(
  data: Float32Array,
  rows: number,
  width: number,
  room: Room = ofItsOwn,
): Packed {
  const bytes = room(Math.ceil(rows / 4) * 16 * width);
  const out = floatsOf(bytes);
  for (let row = 0; row < rows; row++) {
    const to = (row >> 2) * 4 * width + (row & 3);
    for (let k = 0; k < width; k++) out[to + k * 4] = data[row * width + k]!;
  }
  return { bits: 32, rows, width, size: 1, hasMin: false, bytes };
}

/** Row `row` as fp32, the embedding of one token. */
export function unpackRow(
  { bits, width, size, hasMin }: Layout,
  bytes: Uint8Array,
  row: number,
  out: Float32Array,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const j = row & 3;
  if (bits === 32) {
    const at = (row >> 2) * width * 16 + j * 4;
    for (let k = 0; k < width; k++) out[k] = view.getFloat32(at + k * 16, true);
    return;
  }
  const head = hasMin ? 32 : 16;
  const stride = head + size * (bits === 4 ? 2 : 4);
  let at = (row >> 2) * (width / size) * stride;
  for (let from = 0; from < width; from += size, at += stride) {
    const step = view.getFloat32(at + j * 4, true);
    const min = hasMin ? view.getFloat32(at + 16 + j * 4, true) : 0;
    const first = at + head + j * 4;
    for (let k = 0; k < size; k++) out[from + k] = step * codeAt(bits, view, first, k) + min;
  }
}

function codeAt(bits: 4 | 8, view: DataView, first: number, k: number): number {
  if (bits === 8) return view.getInt8(first + (k >> 2) * 16 + (k & 3));
  const byte = view.getUint8(first + (k >> 3) * 16 + (k & 3));
  return (k & 4) === 0 ? byte & 15 : byte >> 4;
}
