// Activations rounded to integers, block by block, before they meet quantised weights.

/** Numbers of an activation row that share a scale. */
export const BLOCK: usize = 32;

/** Bytes of a block's scales, fp32: the step, and the step times the sum of its integers. */
export const SCALES: usize = 8;

/** What is added to an integer of 14 bits so that none is negative. */
const OFFSET_14: i32 = 1 << 13;

/**
 * Rounds rows of `width` fp32 numbers (a multiple of 32) to int16. Of each four numbers the even ones
 * stand first: the kernels multiply the even and the odd bytes of a weight vector apart.
 */
export function quantise16(x: usize, width: usize, q: usize, scales: usize, from: usize, to: usize): void {
  quantiseWide(32767, x, width, q, scales, from, to);
}

/**
 * Rounds rows of `width` fp32 numbers (a multiple of 32) to −8191..8191. Of each four numbers, `OFFSET_14` added, the upper
 * seven bits stand first, then the lower seven: bytes that meet bytes of weights.
 */
export function quantise14(x: usize, width: usize, q: usize, scales: usize, from: usize, to: usize): void {
  quantiseWide(8191, x, width, q, scales, from, to);
}

// @ts-ignore: decorator
@inline
function quantiseWide(most: i32, x: usize, width: usize, q: usize, scales: usize, from: usize, to: usize): void {
  const blocks = width / BLOCK;
  for (let i = from * blocks; i < to * blocks; i++) {
    const source = x + i * BLOCK * 4;
    const top = largestOf(source);
    const inverse = inverseOf(top, <f32>most);
    const target = q + i * BLOCK * 2;
    let sum: i32 = 0;
    for (let k: usize = 0; k < BLOCK; k += 8) sum += eight(most, source + k * 4, inverse, target + k * 2);
    putScales(scales + i * SCALES, top / <f32>most, sum);
  }
}

/** Rounds rows of `width` fp32 numbers (a multiple of 32) to −127..127. */
export function quantise8(x: usize, width: usize, q: usize, scales: usize, from: usize, to: usize): void {
  const blocks = width / BLOCK;
  for (let i = from * blocks; i < to * blocks; i++) {
    const source = x + i * BLOCK * 4;
    const top = largestOf(source);
    const inverse = inverseOf(top, 127);
    const target = q + i * BLOCK;
    putScales(
      scales + i * SCALES,
      top / 127,
      bytes(source, inverse, target) + bytes(source + 64, inverse, target + 16),
    );
  }
}

/** The largest magnitude of a block. */
// @ts-ignore: decorator
@inline
function largestOf(source: usize): f32 {
  let peak = f32x4.splat(0);
  for (let k: usize = 0; k < BLOCK * 4; k += 16) {
    peak = f32x4.max(peak, f32x4.abs(v128.load(source + k)));
  }
  return max(
    max(f32x4.extract_lane(peak, 0), f32x4.extract_lane(peak, 1)),
    max(f32x4.extract_lane(peak, 2), f32x4.extract_lane(peak, 3)),
  );
}

/** Below the smallest normal number the reciprocal overflows: such a block counts as zero. */
// @ts-ignore: decorator
@inline
function inverseOf(top: f32, most: f32): v128 {
  return f32x4.splat(top > 1e-30 ? most / top : 0);
}

// @ts-ignore: decorator
@inline
function rounded(source: usize, inverse: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(source), inverse)));
}

/** Rounds 8 numbers to 16 bits, or to two times seven; gives the sum of the integers. */
// @ts-ignore: decorator
@inline
function eight(most: i32, source: usize, inverse: v128, target: usize): i32 {
  const a = rounded(source, inverse);
  const b = rounded(source + 16, inverse);
  if (most === 8191) {
    v128.store(target, i8x16.narrow_i16x8_s(halvesOf(a), halvesOf(b)));
  } else {
    const both = i16x8.narrow_i32x4_s(a, b);
    v128.store(target, i16x8.shuffle(both, both, 0, 2, 1, 3, 4, 6, 5, 7));
  }
  return total(i32x4.add(a, b));
}

/** The upper seven bits of four integers, then the lower. */
// @ts-ignore: decorator
@inline
function halvesOf(integers: v128): v128 {
  const positive = i32x4.add(integers, i32x4.splat(OFFSET_14));
  return i16x8.narrow_i32x4_s(i32x4.shr_u(positive, 7), v128.and(positive, i32x4.splat(127)));
}

/** Rounds 16 numbers; gives the sum of the integers. */
// @ts-ignore: decorator
@inline
function bytes(source: usize, inverse: v128, target: usize): i32 {
  const a = rounded(source, inverse);
  const b = rounded(source + 16, inverse);
  const c = rounded(source + 32, inverse);
  const d = rounded(source + 48, inverse);
  v128.store(target, i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d)));
  return total(i32x4.add(i32x4.add(a, b), i32x4.add(c, d)));
}

// @ts-ignore: decorator
@inline
function total(x: v128): i32 {
  return (
    i32x4.extract_lane(x, 0) + i32x4.extract_lane(x, 1) +
    (i32x4.extract_lane(x, 2) + i32x4.extract_lane(x, 3))
  );
}

// @ts-ignore: decorator
@inline
function putScales(to: usize, step: f32, sum: i32): void {
  store<f32>(to, step);
  store<f32>(to, step * <f32>sum, 4);
}
