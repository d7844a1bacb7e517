// Products of two tensors whose rows may be parts of longer ones: attention, LoRA. The left one is fp32, the right one of
// type T: f32, or u16 for fp16 (halves.ts), whose rows are then of a multiple of four numbers. Tiles of up to three rows
// and twelve numbers are summed in registers, so that three rows share each reading of the right side. Each number
// is summed in one order, wherever it lies and however many rows are computed together. Strides are in bytes.
import { fma } from './fma';
import { four } from './halves';
import { constant, HALF_MASK, HALF_SCALE } from './scratch';

/** Rows of b that all rows of a meet before the next ones: they stay in the nearest cache. */
const TOGETHER: usize = 64;

/**
 * out [M, N] = (addend +) a [M, K] · b [K, N], columns `from`..`to`. The sum begins with the addend: a sum over K
 * in parts, each the addend of the next, is the same to the last bit.
 */
export function timesRows<T>(
  a: usize, strideA: usize, b: usize, strideB: usize, out: usize, strideOut: usize,
  addend: usize, strideAddend: usize, M: usize, K: usize, from: usize, to: usize,
): void {
  for (let k: usize = 0; k < K; k += TOGETHER) {
    const count = min(TOGETHER, K - k);
    const right = b + k * strideB;
    bringNear(right + from * sizeof<T>(), strideB, count, (to - from) * sizeof<T>());
    for (let m: usize = 0; m < M; m += 3) {
      const left = a + m * strideA + k * 4;
      const target = out + m * strideOut;
      const start = addend ? addend + m * strideAddend : 0;
      const rows = M - m;
      if (rows >= 3) rowsOf<T>(3, left, strideA, right, strideB, target, strideOut, start, strideAddend, count, from, to);
      else if (rows === 2) rowsOf<T>(2, left, strideA, right, strideB, target, strideOut, start, strideAddend, count, from, to);
      else rowsOf<T>(1, left, strideA, right, strideB, target, strideOut, start, strideAddend, count, from, to);
    }
    addend = out;
    strideAddend = strideOut;
  }
}

/**
 * Reads a number of each cache line of so many rows, four rows at a time, far from each other: what memory has to
 * deliver comes side by side, not one line after the other as the sums would ask for it.
 */
function bringNear(at: usize, stride: usize, rows: usize, width: usize): void {
  const apart = (rows / 4) * stride;
  for (const end = at + apart; at < end; at += stride) {
    for (let i: usize = 0; i < width; i += 64) {
      v128.load(at + i);
      v128.load(at + apart + i);
      v128.load(at + apart * 2 + i);
      v128.load(at + apart * 3 + i);
    }
  }
}

// @ts-ignore: decorator
@inline
function rowsOf<T>(
  rows: i32, a: usize, strideA: usize, b: usize, strideB: usize, out: usize, strideOut: usize,
  addend: usize, strideAddend: usize, K: usize, from: usize, to: usize,
): void {
  let n = from * 4;
  const end = to * 4;
  for (; n + 48 <= end; n += 48) {
    tileOfRows<T>(rows, 3, a, strideA, b + (n / 4) * sizeof<T>(), strideB, out + n, strideOut, addend ? addend + n : 0, strideAddend, K);
  }
  if (n + 32 <= end) {
    tileOfRows<T>(rows, 2, a, strideA, b + (n / 4) * sizeof<T>(), strideB, out + n, strideOut, addend ? addend + n : 0, strideAddend, K);
    n += 32;
  }
  if (n + 16 <= end) {
    tileOfRows<T>(rows, 1, a, strideA, b + (n / 4) * sizeof<T>(), strideB, out + n, strideOut, addend ? addend + n : 0, strideAddend, K);
    n += 16;
  }
  for (; sizeof<T>() > 2 && n < end; n += 4) {
    for (let r: usize = 0; r < <usize>rows; r++) {
      let sum: f32 = addend ? load<f32>(addend + r * strideAddend + n) : 0;
      for (let k: usize = 0; k < K; k++) {
        sum += load<f32>(a + r * strideA + k * 4) * load<f32>(b + k * strideB + n);
      }
      store<f32>(out + r * strideOut + n, sum);
    }
  }
}

/** What a sum begins with. */
// @ts-ignore: decorator
@inline
function begin(addend: usize): v128 {
  return addend ? v128.load(addend) : f32x4.splat(0);
}

/** One to three rows by four, eight or twelve columns; both counts are constants. Sixteen columns are more than there are registers. */
// @ts-ignore: decorator
@inline
function tileOfRows<T>(
  rows: i32, vectors: i32, a: usize, strideA: usize, b: usize, strideB: usize, out: usize, strideOut: usize,
  addend: usize, strideAddend: usize, K: usize,
): void {
  const add1 = addend ? addend + strideAddend : 0;
  const add2 = addend ? addend + strideAddend * 2 : 0;
  let s00 = begin(addend);
  let s01 = vectors > 1 ? begin(addend ? addend + 16 : 0) : s00;
  let s02 = vectors > 2 ? begin(addend ? addend + 32 : 0) : s00;
  let s10 = rows > 1 ? begin(add1) : s00;
  let s11 = rows > 1 && vectors > 1 ? begin(add1 ? add1 + 16 : 0) : s00;
  let s12 = rows > 1 && vectors > 2 ? begin(add1 ? add1 + 32 : 0) : s00;
  let s20 = rows > 2 ? begin(add2) : s00;
  let s21 = rows > 2 && vectors > 1 ? begin(add2 ? add2 + 16 : 0) : s00;
  let s22 = rows > 2 && vectors > 2 ? begin(add2 ? add2 + 32 : 0) : s00;
  const a1 = a + strideA;
  const a2 = a1 + strideA;
  const mask = sizeof<T>() === 2 ? constant(HALF_MASK) : s00;
  const scale = sizeof<T>() === 2 ? constant(HALF_SCALE) : s00;
  for (let k: usize = 0; k < K * 4; k += 4) {
    const x0 = v128.load32_splat(a + k);
    const x1 = rows > 1 ? v128.load32_splat(a1 + k) : x0;
    const x2 = rows > 2 ? v128.load32_splat(a2 + k) : x0;
    let y = four<T>(b, 0, mask, scale);
    s00 = fma(x0, y, s00);
    if (rows > 1) s10 = fma(x1, y, s10);
    if (rows > 2) s20 = fma(x2, y, s20);
    if (vectors > 1) {
      y = four<T>(b, 1, mask, scale);
      s01 = fma(x0, y, s01);
      if (rows > 1) s11 = fma(x1, y, s11);
      if (rows > 2) s21 = fma(x2, y, s21);
    }
    if (vectors > 2) {
      y = four<T>(b, 2, mask, scale);
      s02 = fma(x0, y, s02);
      if (rows > 1) s12 = fma(x1, y, s12);
      if (rows > 2) s22 = fma(x2, y, s22);
    }
    b += strideB;
  }
  putRow(vectors, out, s00, s01, s02);
  if (rows > 1) putRow(vectors, out + strideOut, s10, s11, s12);
  if (rows > 2) putRow(vectors, out + strideOut * 2, s20, s21, s22);
}

// @ts-ignore: decorator
@inline
function putRow(vectors: i32, out: usize, s0: v128, s1: v128, s2: v128): void {
  v128.store(out, s0);
  if (vectors > 1) v128.store(out, s1, 16);
  if (vectors > 2) v128.store(out, s2, 32);
}

/**
 * out [M, N] = a [M, K] · b [N, K]ᵀ (+ addend), columns `from`..`to`. When b is read but once, its rows come as four
 * streams side by side, as weights do (linear.ts).
 */
export function timesColumns<T>(
  a: usize, strideA: usize, b: usize, out: usize, strideOut: usize,
  addend: usize, strideAddend: usize, M: usize, K: usize, from: usize, to: usize,
): void {
  const quarter = (to - from) / 4;
  const apart: usize = M > 3 ? 1 : quarter;
  const step: usize = M > 3 ? 4 : 1;
  let n = from;
  for (let i: usize = 0; i < quarter; i++) {
    columnsOf<T>(4, a, strideA, b, out, strideOut, addend, strideAddend, M, K, n, apart);
    n += step;
  }
  for (n = from + quarter * 4; n < to; n++) {
    columnsOf<T>(1, a, strideA, b, out, strideOut, addend, strideAddend, M, K, n, 0);
  }
}

// @ts-ignore: decorator
@inline
function columnsOf<T>(
  columns: i32, a: usize, strideA: usize, b: usize, out: usize, strideOut: usize,
  addend: usize, strideAddend: usize, M: usize, K: usize, n: usize, apart: usize,
): void {
  const right = b + n * K * sizeof<T>();
  for (let m: usize = 0; m < M; m += 3) {
    const left = a + m * strideA;
    const target = out + m * strideOut + n * 4;
    const extra = addend ? addend + m * strideAddend + n * 4 : 0;
    const rows = M - m;
    if (rows >= 3) tileOfColumns<T>(3, columns, left, strideA, right, target, strideOut, extra, strideAddend, K, apart);
    else if (rows === 2) tileOfColumns<T>(2, columns, left, strideA, right, target, strideOut, extra, strideAddend, K, apart);
    else tileOfColumns<T>(1, columns, left, strideA, right, target, strideOut, extra, strideAddend, K, apart);
  }
}

/** One to three rows by one or four columns, which are `apart` from each other; both counts are constants. */
// @ts-ignore: decorator
@inline
function tileOfColumns<T>(
  rows: i32, columns: i32, a: usize, strideA: usize, b: usize, out: usize, strideOut: usize,
  addend: usize, strideAddend: usize, K: usize, apart: usize,
): void {
  const bytes = sizeof<T>();
  const strideB = apart * K * bytes;
  const b1 = b + strideB;
  const b2 = b1 + strideB;
  const b3 = b2 + strideB;
  const a1 = a + strideA;
  const a2 = a1 + strideA;
  const wide = K & ~3;
  let s00 = f32x4.splat(0);
  let s01 = s00;
  let s02 = s00;
  let s03 = s00;
  let s10 = s00;
  let s11 = s00;
  let s12 = s00;
  let s13 = s00;
  let s20 = s00;
  let s21 = s00;
  let s22 = s00;
  let s23 = s00;
  const mask = sizeof<T>() === 2 ? constant(HALF_MASK) : s00;
  const scale = sizeof<T>() === 2 ? constant(HALF_SCALE) : s00;
  for (let k: usize = 0; k < wide; k += 4) {
    const x0 = v128.load(a + k * 4);
    const x1 = rows > 1 ? v128.load(a1 + k * 4) : x0;
    const x2 = rows > 2 ? v128.load(a2 + k * 4) : x0;
    let y = four<T>(b + k * bytes, 0, mask, scale);
    s00 = fma(x0, y, s00);
    if (rows > 1) s10 = fma(x1, y, s10);
    if (rows > 2) s20 = fma(x2, y, s20);
    if (columns > 1) {
      y = four<T>(b1 + k * bytes, 0, mask, scale);
      s01 = fma(x0, y, s01);
      if (rows > 1) s11 = fma(x1, y, s11);
      if (rows > 2) s21 = fma(x2, y, s21);
      y = four<T>(b2 + k * bytes, 0, mask, scale);
      s02 = fma(x0, y, s02);
      if (rows > 1) s12 = fma(x1, y, s12);
      if (rows > 2) s22 = fma(x2, y, s22);
      y = four<T>(b3 + k * bytes, 0, mask, scale);
      s03 = fma(x0, y, s03);
      if (rows > 1) s13 = fma(x1, y, s13);
      if (rows > 2) s23 = fma(x2, y, s23);
    }
  }
  // Halves come in fours: nothing is left of them.
  const rest: usize = sizeof<T>() === 2 ? 0 : K & 3;
  a += wide * 4;
  b += wide * bytes;
  putSums(columns, s00, s01, s02, s03, a, b, rest, strideB, out, apart, addend);
  if (rows > 1) {
    const extra = addend ? addend + strideAddend : 0;
    putSums(columns, s10, s11, s12, s13, a + strideA, b, rest, strideB, out + strideOut, apart, extra);
  }
  if (rows > 2) {
    const extra = addend ? addend + strideAddend * 2 : 0;
    putSums(columns, s20, s21, s22, s23, a + strideA * 2, b, rest, strideB, out + strideOut * 2, apart, extra);
  }
}

/** Adds the lanes of each sum, the `rest` of K numbers that begin at `a` and `b`, and the addend. */
// @ts-ignore: decorator
@inline
function putSums(
  columns: i32, s0: v128, s1: v128, s2: v128, s3: v128, a: usize, b: usize, rest: usize, strideB: usize,
  out: usize, apart: usize, addend: usize,
): void {
  // Transpose and add: lane j becomes the sum of s_j.
  const l0 = i8x16.shuffle(s0, s1, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const h0 = i8x16.shuffle(s0, s1, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
  const l1 = i8x16.shuffle(s2, s3, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const h1 = i8x16.shuffle(s2, s3, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
  const p0 = f32x4.add(l0, h0);
  const p1 = f32x4.add(l1, h1);
  let acc = f32x4.add(
    i8x16.shuffle(p0, p1, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
    i8x16.shuffle(p0, p1, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31),
  );
  for (let k: usize = 0; k < rest * 4; k += 4) {
    acc = fma(v128.load32_splat(a + k), gather(columns, b + k, strideB), acc);
  }
  if (addend) acc = f32x4.add(acc, gather(columns, addend, apart * 4));
  if (columns > 1 && apart === 1) v128.store(out, acc);
  else v128.store32_lane(out, acc, 0);
  if (columns > 1 && apart > 1) {
    v128.store32_lane(out + apart * 4, acc, 1);
    v128.store32_lane(out + apart * 8, acc, 2);
    v128.store32_lane(out + apart * 12, acc, 3);
  }
}

/** One number of each column, in the lanes of a vector. */
// @ts-ignore: decorator
@inline
function gather(columns: i32, at: usize, stride: usize): v128 {
  if (columns > 1 && stride === 4) return v128.load(at);
  let x = v128.load32_zero(at);
  if (columns > 1) {
    x = v128.load32_lane(at + stride, x, 1);
    x = v128.load32_lane(at + stride * 2, x, 2);
    x = v128.load32_lane(at + stride * 3, x, 3);
  }
  return x;
}
