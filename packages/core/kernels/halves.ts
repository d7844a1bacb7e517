// Numbers of 16 bits (fp16): what keys and values are kept as, since attention to a long past does little but read them.
import { constant, HALF_MASK, HALF_SCALE } from './scratch';

/** Numbers that are converted in one unit of work; what is left over is one more. */
export const RUN: usize = 256;

/** The largest fp16 number, and the smallest that has its full precision: less counts as 0. */
const MOST: f32 = 65504;
const LEAST: f32 = 0.00006103515625;

/** Four numbers of type T (f32, or u16 for fp16), `index` vectors of four after `at`, as fp32. */
// @ts-ignore: decorator
@inline
export function four<T>(at: usize, index: usize, mask: v128, scale: v128): v128 {
  return sizeof<T>() === 2 ? widened(at + index * 8, mask, scale) : v128.load(at + index * 16);
}

/** Exponent and fraction go to where fp32 has them. There they mean 2^112 less: its exponents begin that much lower. */
// @ts-ignore: decorator
@inline
function widened(at: usize, mask: v128, scale: v128): v128 {
  return f32x4.mul(v128.and(i32x4.shl(v128.load16x4_s(at), 13), mask), scale);
}

/**
 * Rounds fp32 numbers `from`..`to`, multiples of four, to the nearest fp16 number, the even one of two. Those too large become
 * the largest; what is no number becomes 0.
 */
export function narrow(x: usize, out: usize, from: usize, to: usize): void {
  for (let i = from; i < to; i += 4) {
    const value = v128.load(x + i * 4);
    const size = f32x4.min(f32x4.abs(value), f32x4.splat(MOST));
    const odd = v128.and(i32x4.shr_u(size, 13), i32x4.splat(1));
    const rounded = i32x4.shr_u(i32x4.add(i32x4.add(size, i32x4.splat(0xfff)), odd), 13);
    const bits = v128.and(
      i32x4.sub(rounded, i32x4.splat(112 << 10)),
      f32x4.ge(size, f32x4.splat(LEAST)),
    );
    const signed = v128.or(bits, v128.and(i32x4.shr_u(value, 16), i32x4.splat(0x8000)));
    v128.store64_lane(out + i * 2, i8x16.shuffle(signed, signed, 0, 1, 4, 5, 8, 9, 12, 13, 0, 1, 4, 5, 8, 9, 12, 13), 0);
  }
}

/** fp16 numbers `from`..`to`, multiples of four, as fp32. */
export function widen(x: usize, out: usize, from: usize, to: usize): void {
  for (let i = from; i < to; i += 4) v128.store(out + i * 4, widened(x + i * 2, constant(HALF_MASK), constant(HALF_SCALE)));
}
