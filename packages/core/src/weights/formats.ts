// How numbers are stored in weight files, and how each format becomes fp32 again.
// Block formats as in ggml: https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c
// (dequantize_row_*). Knows nothing of files, names or models.
import { RapportError } from '../error.ts';
import { FP16 } from './half.ts';

/** One storage format. `blockBytes` bytes hold `blockSize` consecutive numbers of a row. */
export interface WeightFormat {
  readonly name: FormatName;
  readonly blockSize: number;
  readonly blockBytes: number;
  /** True when the numbers of a block share a scale; false for plain floats. */
  readonly quantised: boolean;
  /** Writes the `out.length` numbers stored in `bytes`; `out.length` is whole blocks. */
  expand(bytes: Uint8Array, out: Float32Array): void;
}

export type FormatName =
  | 'F32'
  | 'F16'
  | 'BF16'
  | 'Q8_0'
  | 'Q4_0'
  | 'Q4_1'
  | 'Q5_0'
  | 'Q5_1'
  | 'IQ4_NL'
  | 'Q2_K'
  | 'Q3_K'
  | 'Q4_K'
  | 'Q5_K'
  | 'Q6_K';

const isLittleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

// --- plain floats -----------------------------------------------------------------------------

function expandF32(bytes: Uint8Array, out: Float32Array): void {
  if (isLittleEndian) {
    new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(bytes);
    return;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i < out.length; i++) out[i] = view.getFloat32(i * 4, true);
}

function expandF16(bytes: Uint8Array, out: Float32Array): void {
  for (let i = 0, at = 0; i < out.length; i++, at += 2) out[i] = half(bytes, at);
}

// bfloat16 is the upper half of an fp32.
function expandBF16(bytes: Uint8Array, out: Float32Array): void {
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0, at = 0; i < out.length; i++, at += 2) {
    bits[i] = ((bytes[at]! << 16) | (bytes[at + 1]! << 24)) >>> 0;
  }
}

// --- blocks of 32 -----------------------------------------------------------------------------

// x = d · q, q signed 8 bits.
function expandQ8_0(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, at = 0; o < out.length; o += 32, at += 34) {
    const d = half(bytes, at);
    for (let i = 0; i < 32; i++) out[o + i] = d * ((bytes[at + 2 + i]! << 24) >> 24);
  }
}

// x = d · (q − 8), 4 bits; a byte holds numbers i (low) and i + 16 (high).
function expandQ4_0(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, at = 0; o < out.length; o += 32, at += 18) {
    const d = half(bytes, at);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 2 + i]!;
      out[o + i] = d * ((pair & 15) - 8);
      out[o + i + 16] = d * ((pair >> 4) - 8);
    }
  }
}

// x = d · q + m.
function expandQ4_1(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, at = 0; o < out.length; o += 32, at += 20) {
    const d = half(bytes, at);
    const m = half(bytes, at + 2);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 4 + i]!;
      out[o + i] = d * (pair & 15) + m;
      out[o + i + 16] = d * (pair >> 4) + m;
    }
  }
}

// x = d · (q − 16), 5 bits: the fifth bits of the 32 numbers stand in one 32-bit word.
function expandQ5_0(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, at = 0; o < out.length; o += 32, at += 22) {
    const d = half(bytes, at);
    const high = word(bytes, at + 2);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 6 + i]!;
      out[o + i] = d * (((pair & 15) | (((high >>> i) & 1) << 4)) - 16);
      out[o + i + 16] = d * (((pair >> 4) | (((high >>> (i + 16)) & 1) << 4)) - 16);
    }
  }
}

// x = d · q + m.
function expandQ5_1(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, at = 0; o < out.length; o += 32, at += 24) {
    const d = half(bytes, at);
    const m = half(bytes, at + 2);
    const high = word(bytes, at + 4);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 8 + i]!;
      out[o + i] = d * ((pair & 15) | (((high >>> i) & 1) << 4)) + m;
      out[o + i + 16] = d * ((pair >> 4) | (((high >>> (i + 16)) & 1) << 4)) + m;
    }
  }
}

// x = d · level[q], 4 bits that name one of sixteen levels. What K-quants fall back to where a row is no multiple of 256.
function expandIQ4_NL(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, at = 0; o < out.length; o += 32, at += 18) {
    const d = half(bytes, at);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 2 + i]!;
      out[o + i] = d * IQ4_NL_LEVELS[pair & 15]!;
      out[o + i + 16] = d * IQ4_NL_LEVELS[pair >> 4]!;
    }
  }
}

/** The levels of IQ4_NL (kvalues_iq4nl of ggml). */
export const IQ4_NL_LEVELS = Int8Array.of(
  ...[-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113],
);

// --- super-blocks of 256 ----------------------------------------------------------------------

// x = d · scale_s · q − dmin · min_s, 2 bits, sixteen sub-blocks s of 16: a byte has a scale (low) and a
// minimum (high) of 4 bits. Then 64 bytes of numbers, then d and dmin.
function expandQ2_K(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, at = 0; o < out.length; o += 256, at += 84) {
    const d = half(bytes, at + 80);
    const dmin = half(bytes, at + 82);
    for (let i = 0; i < 256; i++) {
      const pair = bytes[at + (i >> 4)]!;
      out[o + i] = d * (pair & 15) * pairOf(bytes, at + 16, i) - dmin * (pair >> 4);
    }
  }
}

// x = d · scale_s · q, 3 bits, sixteen sub-blocks s of 16 with signed 6-bit scales. 32 bytes of third bits, which
// say that nothing is to be taken off, 64 bytes of the lower two, 12 of scales, then d.
function expandQ3_K(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, at = 0; o < out.length; o += 256, at += 110) {
    const d = half(bytes, at + 108);
    for (let i = 0; i < 256; i++) {
      const q =
        pairOf(bytes, at + 32, i) - (((bytes[at + (i & 31)]! >> (i >> 5)) & 1) === 0 ? 4 : 0);
      out[o + i] = d * signedScaleOf(bytes, at + 96, i >> 4) * q;
    }
  }
}

// Two bits of number i of 256: half h = i / 128, quarter k = (i % 128) / 32, lane i % 32.
const pairOf = (bytes: Uint8Array, at: number, i: number): number =>
  (bytes[at + (i >> 7) * 32 + (i & 31)]! >> (((i >> 5) & 3) * 2)) & 3;

// The 12 bytes of sixteen 6-bit scales: low four bits of 0-7 and 8-15 in the low and high halves of bytes 0-7, the
// upper two bits of s, s + 4, s + 8 and s + 12 in byte 8 + s.
function signedScaleOf(bytes: Uint8Array, at: number, s: number): number {
  const low = (bytes[at + (s & 7)]! >> (s < 8 ? 0 : 4)) & 15;
  const high = (bytes[at + 8 + (s & 3)]! >> ((s >> 2) * 2)) & 3;
  return (low | (high << 4)) - 32;
}

// x = d · scale_s · q − dmin · min_s, 4 bits, eight sub-blocks s of 32 with 6-bit scales and mins.
function expandQ4_K(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, at = 0; o < out.length; o += 256, at += 144) {
    const d = half(bytes, at);
    const dmin = half(bytes, at + 2);
    for (let s = 0; s < 8; s++) {
      const scale = d * scaleOf(bytes, at + 4, s);
      const min = dmin * minOf(bytes, at + 4, s);
      const from = at + 16 + (s >> 1) * 32;
      const shift = (s & 1) * 4;
      for (let i = 0; i < 32; i++) {
        out[o + s * 32 + i] = scale * ((bytes[from + i]! >> shift) & 15) - min;
      }
    }
  }
}

// As Q4_K with a fifth bit: bit s of byte i belongs to number i of sub-block s.
function expandQ5_K(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, at = 0; o < out.length; o += 256, at += 176) {
    const d = half(bytes, at);
    const dmin = half(bytes, at + 2);
    for (let s = 0; s < 8; s++) {
      const scale = d * scaleOf(bytes, at + 4, s);
      const min = dmin * minOf(bytes, at + 4, s);
      const from = at + 48 + (s >> 1) * 32;
      const shift = (s & 1) * 4;
      for (let i = 0; i < 32; i++) {
        const high = (bytes[at + 16 + i]! >> s) & 1;
        out[o + s * 32 + i] = scale * (((bytes[from + i]! >> shift) & 15) | (high << 4)) - min;
      }
    }
  }
}

// The 12 bytes of sixteen 6-bit numbers: scales 0-3 in bytes 0-3, mins 0-3 in bytes 4-7; the low
// four bits of scales and mins 4-7 in bytes 8-11, their upper two bits on top of bytes 0-7.
function scaleOf(bytes: Uint8Array, at: number, s: number): number {
  if (s < 4) return bytes[at + s]! & 63;
  return (bytes[at + s + 4]! & 15) | ((bytes[at + s - 4]! >> 6) << 4);
}

function minOf(bytes: Uint8Array, at: number, s: number): number {
  if (s < 4) return bytes[at + s + 4]! & 63;
  return (bytes[at + s + 4]! >> 4) | ((bytes[at + s]! >> 6) << 4);
}

// x = d · scale_s · (q − 32), 6 bits, sixteen sub-blocks of 16 with signed 8-bit scales.
// 128 low nibbles ×2, then 2-bit highs, then the scales, then d.
function expandQ6_K(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, at = 0; o < out.length; o += 256, at += 210) {
    const d = half(bytes, at + 208);
    for (let s = 0; s < 16; s++) {
      const scale = d * ((bytes[at + 192 + s]! << 24) >> 24);
      // Number n of the super-block: half h = n / 128, quarter k = (n % 128) / 32, lane l = n % 32.
      const h = s >> 3;
      const k = (s >> 1) & 3;
      const lane = (s & 1) * 16;
      const low = at + h * 64 + (k & 1) * 32 + lane;
      const high = at + 128 + h * 32 + lane;
      const lowShift = (k >> 1) * 4;
      const highShift = k * 2;
      for (let i = 0; i < 16; i++) {
        const q =
          ((bytes[low + i]! >> lowShift) & 15) | (((bytes[high + i]! >> highShift) & 3) << 4);
        out[o + s * 16 + i] = scale * (q - 32);
      }
    }
  }
}

const half = (bytes: Uint8Array, at: number): number => FP16[bytes[at]! | (bytes[at + 1]! << 8)]!;

const word = (bytes: Uint8Array, at: number): number =>
  bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);

// --- the table --------------------------------------------------------------------------------

const plain = (name: FormatName, blockBytes: number, expand: WeightFormat['expand']) =>
  ({ name, blockSize: 1, blockBytes, quantised: false, expand }) satisfies WeightFormat;

const blocks = (
  name: FormatName,
  blockSize: number,
  blockBytes: number,
  expand: WeightFormat['expand'],
) => ({ name, blockSize, blockBytes, quantised: true, expand }) satisfies WeightFormat;

/** Every format this project reads, by name. */
export const FORMATS: Readonly<Record<FormatName, WeightFormat>> = {
  F32: plain('F32', 4, expandF32),
  F16: plain('F16', 2, expandF16),
  BF16: plain('BF16', 2, expandBF16),
  Q8_0: blocks('Q8_0', 32, 34, expandQ8_0),
  Q4_0: blocks('Q4_0', 32, 18, expandQ4_0),
  Q4_1: blocks('Q4_1', 32, 20, expandQ4_1),
  Q5_0: blocks('Q5_0', 32, 22, expandQ5_0),
  Q5_1: blocks('Q5_1', 32, 24, expandQ5_1),
  IQ4_NL: blocks('IQ4_NL', 32, 18, expandIQ4_NL),
  Q2_K: blocks('Q2_K', 256, 84, expandQ2_K),
  Q3_K: blocks('Q3_K', 256, 110, expandQ3_K),
  Q4_K: blocks('Q4_K', 256, 144, expandQ4_K),
  Q5_K: blocks('Q5_K', 256, 176, expandQ5_K),
  Q6_K: blocks('Q6_K', 256, 210, expandQ6_K),
};

/**
 * fp32 numbers of `bytes` stored in `format`.
 *
 * @param count how many numbers `bytes` holds: a whole number of blocks.
 * @throws RapportError `weights/inconsistent` when `bytes` is not exactly `count` numbers long.
 */
export function dequantise(format: FormatName, bytes: Uint8Array, count: number): Float32Array {
  const { blockSize, blockBytes, expand } = FORMATS[format];
  if (count % blockSize !== 0 || (count / blockSize) * blockBytes !== bytes.byteLength) {
    throw new RapportError(
      'weights/inconsistent',
      `${bytes.byteLength} bytes of ${format} do not hold ${count} numbers.`,
      'Use a file written by a current converter.',
    );
  }
  const out = new Float32Array(count);
  expand(bytes, out);
  return out;
}
