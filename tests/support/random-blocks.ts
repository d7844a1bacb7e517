// Quantised blocks that no model has: seeded noise, and all integers at an end of their range. The
// scales stay finite, as in any file that passes the reader.
import { FORMATS, type FormatName } from '../../packages/core/src/weights/formats.ts';

/** Offsets of the fp16 scales in a block. */
const SCALES: Partial<Record<FormatName, readonly number[]>> = {
  Q8_0: [0],
  Q4_0: [0],
  Q4_1: [0, 2],
  Q5_0: [0],
  Q5_1: [0, 2],
  Q4_K: [0, 2],
  Q5_K: [0, 2],
  Q6_K: [208],
};

export function randomBlocks(
  format: FormatName,
  count: number,
  kind: 'random' | 'lowest' | 'highest',
  seed: number,
): Uint8Array {
  const { blockSize, blockBytes } = FORMATS[format];
  const next = noise(seed);
  const bytes = new Uint8Array((count / blockSize) * blockBytes);
  const fill = { random: next, lowest: () => 0, highest: () => 255 }[kind];
  for (let i = 0; i < bytes.length; i++) bytes[i] = fill();
  for (let at = 0; at < bytes.length; at += blockBytes) {
    for (const offset of SCALES[format] ?? []) {
      // Exponent 8 to 11 of fp16: scales between 1/128 and 1/8, both signs.
      bytes[at + offset] = next();
      bytes[at + offset + 1] = (next() & 0x80) | (32 + (next() & 15));
    }
  }
  return bytes;
}

/** Bytes of a linear congruential generator (Numerical Recipes). */
function noise(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  };
}
