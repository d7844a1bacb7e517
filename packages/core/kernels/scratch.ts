// Memory that one thread has for itself, and constants in it. Engines build a constant of 128 bits anew in every round of a
// loop (V8 with five instructions): those of the busiest loops are read from here instead, which makes the exponential a third
// faster and products with nibbles a tenth.

/**
 * Bytes of a thread's: 256 of intermediate results, constants, and room up to the next thread's, which writes as often. Side by
 * side they took each other's cache lines, and two threads did 1.35 times the work of one; with four rows and more they do 1.9
 * times so (docs/log.md).
 */
export const SCRATCH_BYTES: usize = 1024;

/** Where this instance, which is one thread's, has its scratch. */
export let scratch: usize = 0;

/** 15 in every byte, and in every 16 bits. */
export const NIBBLE_MASK: usize = 256;
export const NIBBLE_MASK_16: usize = 512;
/** What is kept of an fp16 number's bits 13 places higher, and by how much they are then too small as an fp32 number. */
export const HALF_MASK: usize = 272;
export const HALF_SCALE: usize = 288;
/** Of the exponential: its bounds, log₂ e, 1.5 · 2²³, ln 2 in two parts, and a polynomial (Cephes expf), highest power first. */
export const EXP_LEAST: usize = 304;
export const EXP_MOST: usize = 320;
export const LOG2_E: usize = 336;
export const WHOLE: usize = 352;
export const LN_2_LOW: usize = 368;
export const LN_2_HIGH: usize = 384;
export const EXP_5: usize = 400;
export const EXP_4: usize = 416;
export const EXP_3: usize = 432;
export const EXP_2: usize = 448;
export const EXP_1: usize = 464;
export const EXP_0: usize = 480;
export const ONE: usize = 496;

export function setScratch(at: usize): void {
  scratch = at;
  v128.store(at, i8x16.splat(15), NIBBLE_MASK);
  v128.store(at, i16x8.splat(15), NIBBLE_MASK_16);
  v128.store(at, i32x4.splat(0x8fffe000), HALF_MASK);
  put(HALF_SCALE, 5.192296858534828e33); // 2¹¹²
  put(EXP_LEAST, -87.3);
  put(EXP_MOST, 88.7);
  put(LOG2_E, 1.44269504088896341);
  put(WHOLE, 12582912);
  put(LN_2_LOW, 2.12194440e-4);
  put(LN_2_HIGH, -0.693359375);
  put(EXP_5, 1.9875691500e-4);
  put(EXP_4, 1.3981999507e-3);
  put(EXP_3, 8.3334519073e-3);
  put(EXP_2, 4.1665795894e-2);
  put(EXP_1, 1.6666665459e-1);
  put(EXP_0, 5.0000001201e-1);
  put(ONE, 1);
}

function put(offset: usize, value: f32): void {
  v128.store(scratch + offset, f32x4.splat(value));
}

/** A constant by its offset in the scratch. */
// @ts-ignore: decorator
@inline
export function constant(offset: usize): v128 {
  return v128.load(scratch + offset);
}
