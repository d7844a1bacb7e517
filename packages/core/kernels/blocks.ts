// One block of weights, four output rows of 16 or 32 numbers, times the same block of one to four
// rows of activations: weights are unpacked once for all of them. Lane j of every register belongs to
// weight row j. Sums of integers are exact; they meet their scales in fp32 and are added to `acc`, one
// vector for each row of activations. Weight layouts are described in src/runtime/simd/pack.ts.
//
// Plain SIMD multiplies 16-bit numbers (two to a lane), so activations have 16 bits there. Relaxed SIMD
// multiplies bytes (four to a lane), in one instruction where the processor has it. One of its operands
// must lie in 0..127 to give the same everywhere; nibbles do. A pair of products is then at most
// 2 · 128 · 127, so no 16-bit step inside the instruction can saturate. Where 8 bits are too few for the activations, they have
// 14, in two parts of 7 that lie in 0..127 as well: w·a = 2⁷ w·upper + w·lower − 2¹³ w. Sixteen
// weights take two instructions so where the processor has that product, six where it is made of three; with 16 bits four.
import { fma } from './fma';
import { constant, NIBBLE_MASK, NIBBLE_MASK_16 } from './scratch';

/** Adds the products of two weights of each row with two activations of 16 bits. */
// @ts-ignore: decorator
@inline
function two(sum: v128, weights: v128, activations: usize): v128 {
  return i32x4.add(sum, i32x4.dot_i16x8_s(weights, v128.load32_splat(activations)));
}

/** Adds the products of four weights of each row, 0..127, with four activations of 8 bits. */
// @ts-ignore: decorator
@inline
function four(sum: v128, weights: v128, activations: usize): v128 {
  return dot(v128.load32_splat(activations), weights, sum);
}

/** Adds the products of four bytes of each lane, −128..127 those of `a`, 0..127 those of `b`. */
// @ts-ignore: decorator
@inline
function dot(a: v128, b: v128, sum: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? i32x4.relaxed_dot_i8x16_i7x16_add_s(a, b, sum) : sum;
}

/** acc += scale · step · sum (+ min · scale · Σ activations). */
// @ts-ignore: decorator
@inline
function add(acc: usize, sum: v128, step: v128, min: v128, hasMin: bool, s: usize): void {
  const scale = f32x4.mul(step, v128.load32_splat(s));
  let result = fma(f32x4.convert_i32x4_s(sum), scale, v128.load(acc));
  if (hasMin) result = fma(min, v128.load32_splat(s, 4), result);
  v128.store(acc, result);
}

/** Step and minimum stand first in a block, at `at`. */
// @ts-ignore: decorator
@inline
function addAll(
  rows: i32, acc: usize, s0: v128, s1: v128, s2: v128, s3: v128, at: usize, hasMin: bool,
  s: usize, scaleRow: usize,
): void {
  const step = v128.load(at);
  const min = v128.load(at, 16);
  add(acc, s0, step, min, hasMin, s);
  if (rows > 1) add(acc + 16, s1, step, min, hasMin, s + scaleRow);
  if (rows > 2) add(acc + 32, s2, step, min, hasMin, s + scaleRow * 2);
  if (rows > 3) add(acc + 48, s3, step, min, hasMin, s + scaleRow * 3);
}

/** Blocks of 32 nibbles with 16-bit activations: a sum is at most 32 · 15 · 32,767 < 2²⁴. */
// @ts-ignore: decorator
@inline
export function nibbles16(rows: i32, at: usize, a: usize, row: usize, s: usize, scaleRow: usize, acc: usize): void {
  const low = constant(NIBBLE_MASK_16);
  let s0 = i32x4.splat(0);
  let s1 = i32x4.splat(0);
  let s2 = i32x4.splat(0);
  let s3 = i32x4.splat(0);
  for (let v: usize = 0; v < 64; v += 16) {
    const nibbles = v128.load(at + v, 32);
    const w0 = v128.and(nibbles, low);
    const w1 = v128.and(i16x8.shr_u(nibbles, 8), low);
    const w2 = v128.and(i16x8.shr_u(nibbles, 4), low);
    const w3 = i16x8.shr_u(nibbles, 12);
    let x = a + v;
    s0 = two(two(two(two(s0, w0, x), w1, x + 4), w2, x + 8), w3, x + 12);
    if (rows > 1) {
      x += row;
      s1 = two(two(two(two(s1, w0, x), w1, x + 4), w2, x + 8), w3, x + 12);
    }
    if (rows > 2) {
      x += row;
      s2 = two(two(two(two(s2, w0, x), w1, x + 4), w2, x + 8), w3, x + 12);
    }
    if (rows > 3) {
      x += row;
      s3 = two(two(two(two(s3, w0, x), w1, x + 4), w2, x + 8), w3, x + 12);
    }
  }
  addAll(rows, acc, s0, s1, s2, s3, at, true, s, scaleRow);
}

/** Blocks of 32 nibbles with 8-bit activations: a sum is at most 32 · 15 · 127. */
// @ts-ignore: decorator
@inline
export function nibbles8(rows: i32, at: usize, a: usize, row: usize, s: usize, scaleRow: usize, acc: usize): void {
  const mask = constant(NIBBLE_MASK);
  let s0 = i32x4.splat(0);
  let s1 = i32x4.splat(0);
  let s2 = i32x4.splat(0);
  let s3 = i32x4.splat(0);
  for (let v: usize = 0; v < 64; v += 16) {
    const nibbles = v128.load(at + v, 32);
    const low = v128.and(nibbles, mask);
    const high = v128.and(i16x8.shr_u(nibbles, 4), mask);
    let x = a + v / 2;
    s0 = four(four(s0, low, x), high, x + 4);
    if (rows > 1) {
      x += row;
      s1 = four(four(s1, low, x), high, x + 4);
    }
    if (rows > 2) {
      x += row;
      s2 = four(four(s2, low, x), high, x + 4);
    }
    if (rows > 3) {
      x += row;
      s3 = four(four(s3, low, x), high, x + 4);
    }
  }
  addAll(rows, acc, s0, s1, s2, s3, at, true, s, scaleRow);
}

/** Blocks of 32 nibbles with 14-bit activations: a sum is at most 32 · 15 · 8,191 < 2²⁴. */
// @ts-ignore: decorator
@inline
export function nibbles14(rows: i32, at: usize, a: usize, row: usize, s: usize, scaleRow: usize, acc: usize): void {
  const mask = constant(NIBBLE_MASK);
  const ones = i8x16.splat(1);
  let all = i32x4.splat(0);
  let u0 = all;
  let u1 = all;
  let u2 = all;
  let u3 = all;
  let l0 = all;
  let l1 = all;
  let l2 = all;
  let l3 = all;
  for (let v: usize = 0; v < 64; v += 16) {
    const nibbles = v128.load(at + v, 32);
    const low = v128.and(nibbles, mask);
    const high = v128.and(i16x8.shr_u(nibbles, 4), mask);
    all = dot(high, ones, dot(low, ones, all));
    let x = a + v;
    u0 = dot(high, v128.load32_splat(x, 8), dot(low, v128.load32_splat(x), u0));
    l0 = dot(high, v128.load32_splat(x, 12), dot(low, v128.load32_splat(x, 4), l0));
    if (rows > 1) {
      x += row;
      u1 = dot(high, v128.load32_splat(x, 8), dot(low, v128.load32_splat(x), u1));
      l1 = dot(high, v128.load32_splat(x, 12), dot(low, v128.load32_splat(x, 4), l1));
    }
    if (rows > 2) {
      x += row;
      u2 = dot(high, v128.load32_splat(x, 8), dot(low, v128.load32_splat(x), u2));
      l2 = dot(high, v128.load32_splat(x, 12), dot(low, v128.load32_splat(x, 4), l2));
    }
    if (rows > 3) {
      x += row;
      u3 = dot(high, v128.load32_splat(x, 8), dot(low, v128.load32_splat(x), u3));
      l3 = dot(high, v128.load32_splat(x, 12), dot(low, v128.load32_splat(x, 4), l3));
    }
  }
  addAll(
    rows, acc, whole(u0, l0, all), whole(u1, l1, all), whole(u2, l2, all), whole(u3, l3, all), at, true,
    s, scaleRow,
  );
}

/** Blocks of 32 bytes with 14-bit activations: a sum is at most 32 · 128 · 8,191 < 2²⁶. */
// @ts-ignore: decorator
@inline
export function bytes14(
  rows: i32, at: usize, a: usize, row: usize, s: usize, scaleRow: usize, acc: usize, hasMin: bool,
): void {
  const weights = at + (hasMin ? 32 : 16);
  const ones = i8x16.splat(1);
  let all = i32x4.splat(0);
  let u0 = all;
  let u1 = all;
  let u2 = all;
  let u3 = all;
  let l0 = all;
  let l1 = all;
  let l2 = all;
  let l3 = all;
  for (let v: usize = 0; v < 128; v += 16) {
    const bytes = v128.load(weights + v);
    all = dot(bytes, ones, all);
    let x = a + v / 2;
    u0 = dot(bytes, v128.load32_splat(x), u0);
    l0 = dot(bytes, v128.load32_splat(x, 4), l0);
    if (rows > 1) {
      x += row;
      u1 = dot(bytes, v128.load32_splat(x), u1);
      l1 = dot(bytes, v128.load32_splat(x, 4), l1);
    }
    if (rows > 2) {
      x += row;
      u2 = dot(bytes, v128.load32_splat(x), u2);
      l2 = dot(bytes, v128.load32_splat(x, 4), l2);
    }
    if (rows > 3) {
      x += row;
      u3 = dot(bytes, v128.load32_splat(x), u3);
      l3 = dot(bytes, v128.load32_splat(x, 4), l3);
    }
  }
  addAll(
    rows, acc, whole(u0, l0, all), whole(u1, l1, all), whole(u2, l2, all), whole(u3, l3, all), at, hasMin,
    s, scaleRow,
  );
}

/** Sums with 14-bit activations from those with their upper and lower parts; `all` is the sum of the weights. */
// @ts-ignore: decorator
@inline
function whole(upper: v128, lower: v128, all: v128): v128 {
  return i32x4.add(i32x4.shl(i32x4.sub(upper, i32x4.shl(all, 6)), 7), lower);
}

/** acc += min · scale · Σ of 16 activations: the sum that was kept when they were rounded is that of 32. */
// @ts-ignore: decorator
@inline
function addMin(acc: usize, min: v128, a: usize, s: usize): void {
  const ones = i16x8.splat(1);
  const parts = i32x4.add(i32x4.dot_i16x8_s(v128.load(a), ones), i32x4.dot_i16x8_s(v128.load(a, 16), ones));
  const pairs = i32x4.add(parts, i32x4.shuffle(parts, parts, 1, 0, 3, 2));
  const sum = i32x4.add(pairs, i32x4.shuffle(pairs, pairs, 2, 3, 0, 1));
  const scaled = f32x4.mul(f32x4.convert_i32x4_s(sum), v128.load32_splat(s));
  v128.store(acc, fma(min, scaled, v128.load(acc)));
}

/** Blocks of 16 or 32 bytes with 16-bit activations: a sum is at most 32 · 128 · 32,767 < 2³¹. */
// @ts-ignore: decorator
@inline
export function bytes16(
  rows: i32, at: usize, a: usize, row: usize, s: usize, scaleRow: usize, acc: usize,
  size: usize, hasMin: bool,
): void {
  const weights = at + (hasMin ? 32 : 16);
  let s0 = i32x4.splat(0);
  let s1 = i32x4.splat(0);
  let s2 = i32x4.splat(0);
  let s3 = i32x4.splat(0);
  for (let v: usize = 0; v < size * 4; v += 16) {
    const bytes = v128.load(weights + v);
    const even = i16x8.shr_s(i16x8.shl(bytes, 8), 8);
    const odd = i16x8.shr_s(bytes, 8);
    let x = a + v / 2;
    s0 = two(two(s0, even, x), odd, x + 4);
    if (rows > 1) {
      x += row;
      s1 = two(two(s1, even, x), odd, x + 4);
    }
    if (rows > 2) {
      x += row;
      s2 = two(two(s2, even, x), odd, x + 4);
    }
    if (rows > 3) {
      x += row;
      s3 = two(two(s3, even, x), odd, x + 4);
    }
  }
  addAll(rows, acc, s0, s1, s2, s3, at, hasMin && size === 32, s, scaleRow);
  if (hasMin && size === 16) {
    const min = v128.load(at, 16);
    addMin(acc, min, a, s);
    if (rows > 1) addMin(acc + 16, min, a + row, s + scaleRow);
    if (rows > 2) addMin(acc + 32, min, a + row * 2, s + scaleRow * 2);
    if (rows > 3) addMin(acc + 48, min, a + row * 3, s + scaleRow * 3);
  }
}
