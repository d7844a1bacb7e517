// Quantised blocks that no model has: codes of seeded noise, or all at one end of their range, under scales of any
// size that fp16 has. They are finite, as in any file that passes the reader.
import { FORMATS, type FormatName } from '../../packages/core/src/weights/formats.ts';

export type Codes = 'random' | 'lowest' | 'highest';
/** How large the fp16 scales and minima are; each has a sign of its own. `mixed`: any of the others in every block. */
export type Scales = 'ordinary' | 'zero' | 'subnormal' | 'large' | 'mixed';

interface Layout {
  /** Offsets of the fp16 scales and minima of a block. */
  readonly halves: readonly number[];
  /** The byte that codes of the lowest and of the highest number make. */
  readonly ends: readonly [lowest: number, highest: number];
  /** The scales and minima inside a super-block: from where to where, and bytes that make the ends of their range. */
  readonly inner?: { readonly from: number; readonly to: number; readonly ends: readonly number[] };
}

const unsigned = [0x00, 0xff] as const;
/** Twelve bytes of ones are eight scales of 63 and eight minima of 63. */
const sixBits = { from: 4, to: 16, ends: [0xff] };

const LAYOUTS: Partial<Record<FormatName, Layout>> = {
  Q8_0: { halves: [0], ends: [0x80, 0x7f] },
  Q4_0: { halves: [0], ends: unsigned },
  Q4_1: { halves: [0, 2], ends: unsigned },
  Q5_0: { halves: [0], ends: unsigned },
  Q5_1: { halves: [0, 2], ends: unsigned },
  IQ4_NL: { halves: [0], ends: unsigned },
  Q2_K: { halves: [80, 82], ends: unsigned, inner: { from: 0, to: 16, ends: [0xff] } },
  Q3_K: { halves: [108], ends: unsigned, inner: { from: 96, to: 108, ends: [0x00, 0xff] } },
  Q4_K: { halves: [0, 2], ends: unsigned, inner: sixBits },
  Q5_K: { halves: [0, 2], ends: unsigned, inner: sixBits },
  Q6_K: { halves: [208], ends: unsigned, inner: { from: 192, to: 208, ends: [0x80, 0x7f] } },
};

/** `count` numbers in blocks of `format`. */
export function randomBlocks(
  format: FormatName,
  count: number,
  { codes, scales }: { codes: Codes; scales: Scales },
  seed: number,
): Uint8Array {
  const { blockSize, blockBytes } = FORMATS[format];
  const { halves, ends, inner } = LAYOUTS[format]!;
  const next = noise(seed);
  const bytes = new Uint8Array((count / blockSize) * blockBytes);
  const code = { random: next, lowest: () => ends[0], highest: () => ends[1] }[codes];
  for (let i = 0; i < bytes.length; i++) bytes[i] = code();
  for (let at = 0; at < bytes.length; at += blockBytes) {
    if (inner && codes !== 'random') {
      for (let i = inner.from; i < inner.to; i++)
        bytes[at + i] = inner.ends[i % inner.ends.length]!;
    }
    for (const offset of halves) {
      const bits = ((next() & 0x80) << 8) | magnitude(scales, next);
      bytes[at + offset] = bits & 255;
      bytes[at + offset + 1] = bits >> 8;
    }
  }
  return bytes;
}

const SIZES = ['ordinary', 'zero', 'subnormal', 'large'] as const;

/** The bits of an fp16 number without its sign. */
function magnitude(scales: Scales, next: () => number): number {
  const fraction = next() | ((next() & 3) << 8);
  switch (scales) {
    // Exponents 8 to 11: between 1/128 and 1/8.
    case 'ordinary':
      return ((8 + (next() & 3)) << 10) | fraction;
    case 'zero':
      return 0;
    // From 2⁻²⁴ on.
    case 'subnormal':
      return Math.max(1, fraction);
    // 65,504, which is the largest, and half of it.
    case 'large':
      return next() & 1 ? 0x7bff : 0x7800;
    case 'mixed':
      return magnitude(SIZES[next() & 3]!, next);
  }
}

/** Bytes of a linear congruential generator (Numerical Recipes). */
function noise(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  };
}
