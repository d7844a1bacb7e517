// Products of two fp32 tensors whose rows may be parts of longer ones: attention, LoRA. Tiles of up to three rows
// and sixteen numbers are summed in registers, so that three rows share each reading of the right side. Each number
// is summed in one order, wherever it lies and however many rows are computed together. Strides are in bytes.
import { fma } from './fma';

/** Rows of b that all rows of a meet before the next ones: they stay in the nearest cache. */
const TOGETHER: usize = 64;

/**
 * out [M, N] = (addend +) a [M, K] · b [K, N], columns `from`..`to`. The sum begins with the addend: a sum over K
 * in parts, each the addend of the next, is the same to the last bit.
 */
export function timesRows(
  a: usize, strideA: usize, b: usize, strideB: usize, out: usize, strideOut: usize,
  addend: usize, strideAddend: usize, M: usize, K: usize, from: usize, to: usize,
): void {
  for (let k: usize = 0; k < K; k += TOGETHER) {
    const count = min(TOGETHER, K - k);
    const right = b + k * strideB;
    bringNear(right + from * 4, strideB, count, (to - from) * 4);
    for (let m: usize = 0; m < M; m += 3) {
      const left = a + m * strideA + k * 4;
      const target = out + m * strideOut;
      const start = addend ? addend + m * strideAddend : 0;
      const rows = M - m;
      if (rows >= 3) rowsOf(3, left, strideA, right, strideB, target, strideOut, start, strideAddend, count, from, to);
      else if (rows === 2) rowsOf(2, left, strideA, right, strideB, target, strideOut, start, strideAddend, count, from, to);
      else rowsOf(1, left, strideA, right, strideB, target, strideOut, start, strideAddend, count, from, to);
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
function rowsOf(
  rows: i32, a: usize, strideA: usize, b: usize, strideB: usize, out: usize, strideOut: usize,
  addend: usize, strideAddend: usize, K: usize, from: usize, to: usize,
): void {
  let n = from * 4;
  const end = to * 4;
  for (; n + 64 <= end; n += 64) {
    tileOfRows(rows, 4, a, strideA, b + n, strideB, out + n, strideOut, addend ? addend + n : 0, strideAddend, K);
  }
  if (n + 32 <= end) {
    tileOfRows(rows, 2, a, strideA, b + n, strideB, out + n, strideOut, addend ? addend + n : 0, strideAddend, K);
    n += 32;
  }
  if (n + 16 <= end) {
    tileOfRows(rows, 1, a, strideA, b + n, strideB, out + n, strideOut, addend ? addend + n : 0, strideAddend, K);
    n += 16;
  }
  for (; n < end; n += 4) {
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

/** One to three rows by four, eight or sixteen columns; both counts are constants. */
// @ts-ignore: decorator
@inline
function tileOfRows(
  rows: i32, vectors: i32, a: usize, strideA: usize, b: usize, strideB: usize, out: usize, strideOut: usize,
  addend: usize, strideAddend: usize, K: usize,
): void {
  const add1 = addend ? addend + strideAddend : 0;
  const add2 = addend ? addend + strideAddend * 2 : 0;
  let s00 = begin(addend);
  let s01 = vectors > 1 ? begin(addend ? addend + 16 : 0) : s00;
  let s02 = vectors > 2 ? begin(addend ? addend + 32 : 0) : s00;
  let s03 = vectors > 2 ? begin(addend ? addend + 48 : 0) : s00;
  let s10 = rows > 1 ? begin(add1) : s00;
  let s11 = rows > 1 && vectors > 1 ? begin(add1 ? add1 + 16 : 0) : s00;
  let s12 = rows > 1 && vectors > 2 ? begin(add1 ? add1 + 32 : 0) : s00;
  let s13 = rows > 1 && vectors > 2 ? begin(add1 ? add1 + 48 : 0) : s00;
  let s20 = rows > 2 ? begin(add2) : s00;
  let s21 = rows > 2 && vectors > 1 ? begin(add2 ? add2 + 16 : 0) : s00;
  let s22 = rows > 2 && vectors > 2 ? begin(add2 ? add2 + 32 : 0) : s00;
  let s23 = rows > 2 && vectors > 2 ? begin(add2 ? add2 + 48 : 0) : s00;
  const a1 = a + strideA;
  const a2 = a1 + strideA;
  for (let k: usize = 0; k < K * 4; k += 4) {
    let x = v128.load32_splat(a + k);
    s00 = fma(x, v128.load(b), s00);
    if (vectors > 1) s01 = fma(x, v128.load(b, 16), s01);
    if (vectors > 2) {
      s02 = fma(x, v128.load(b, 32), s02);
      s03 = fma(x, v128.load(b, 48), s03);
    }
    if (rows > 1) {
      x = v128.load32_splat(a1 + k);
      s10 = fma(x, v128.load(b), s10);
      if (vectors > 1) s11 = fma(x, v128.load(b, 16), s11);
      if (vectors > 2) {
        s12 = fma(x, v128.load(b, 32), s12);
        s13 = fma(x, v128.load(b, 48), s13);
      }
    }
    if (rows > 2) {
      x = v128.load32_splat(a2 + k);
      s20 = fma(x, v128.load(b), s20);
      if (vectors > 1) s21 = fma(x, v128.load(b, 16), s21);
      if (vectors > 2) {
        s22 = fma(x, v128.load(b, 32), s22);
        s23 = fma(x, v128.load(b, 48), s23);
      }
    }
    b += strideB;
  }
  putRow(vectors, out, s00, s01, s02, s03);
  if (rows > 1) putRow(vectors, out + strideOut, s10, s11, s12, s13);
  if (rows > 2) putRow(vectors, out + strideOut * 2, s20, s21, s22, s23);
}

// @ts-ignore: decorator
@inline
function putRow(vectors: i32, out: usize, s0: v128, s1: v128, s2: v128, s3: v128): void {
  v128.store(out, s0);
  if (vectors > 1) v128.store(out, s1, 16);
  if (vectors > 2) v128.store(out, s2, 32);
  if (vectors > 2) v128.store(out, s3, 48);
}

/**
 * out [M, N] = a [M, K] · b [N, K]ᵀ (+ addend), columns `from`..`to`. When b is read but once, its rows come as four
 * streams side by side, as weights do (linear.ts).
 */
export function timesColumns(
  a: usize, strideA: usize, b: usize, out: usize, strideOut: usize,
  addend: usize, strideAddend: usize, M: usize, K: usize, from: usize, to: usize,
): void {
  const quarter = (to - from) / 4;
  const apart: usize = M > 3 ? 1 : quarter;
  const step: usize = M > 3 ? 4 : 1;
  let n = from;
  for (let i: usize = 0; i < quarter; i++) {
    columnsOf(4, a, strideA, b, out, strideOut, addend, strideAddend, M, K, n, apart);
    n += step;
  }
  for (n = from + quarter * 4; n < to; n++) {
    columnsOf(1, a, strideA, b, out, strideOut, addend, strideAddend, M, K, n, 0);
  }
}

// @ts-ignore: decorator
@inline
function columnsOf(
  columns: i32, a: usize, strideA: usize, b: usize, out: usize, strideOut: usize,
  addend: usize, strideAddend: usize, M: usize, K: usize, n: usize, apart: usize,
): void {
  const right = b + n * K * 4;
  for (let m: usize = 0; m < M; m += 3) {
    const left = a + m * strideA;
    const target = out + m * strideOut + n * 4;
    const extra = addend ? addend + m * strideAddend + n * 4 : 0;
    const rows = M - m;
    if (rows >= 3) tileOfColumns(3, columns, left, strideA, right, target, strideOut, extra, strideAddend, K, apart);
    else if (rows === 2) tileOfColumns(2, columns, left, strideA, right, target, strideOut, extra, strideAddend, K, apart);
    else tileOfColumns(1, columns, left, strideA, right, target, strideOut, extra, strideAddend, K, apart);
  }
}

/** One to three rows by one or four columns, which are `apart` from each other; both counts are constants. */
// @ts-ignore: decorator
@inline
function tileOfColumns(
  rows: i32, columns: i32, a: usize, strideA: usize, b: usize, out: usize, strideOut: usize,
  addend: usize, strideAddend: usize, K: usize, apart: usize,
): void {
  const strideB = apart * K * 4;
  const b1 = b + strideB;
  const b2 = b1 + strideB;
  const b3 = b2 + strideB;
  const a1 = a + strideA;
  const a2 = a1 + strideA;
  const wide = (K & ~3) * 4;
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
  for (let k: usize = 0; k < wide; k += 16) {
    let x = v128.load(a + k);
    s00 = fma(x, v128.load(b + k), s00);
    if (columns > 1) {
      s01 = fma(x, v128.load(b1 + k), s01);
      s02 = fma(x, v128.load(b2 + k), s02);
      s03 = fma(x, v128.load(b3 + k), s03);
    }
    if (rows > 1) {
      x = v128.load(a1 + k);
      s10 = fma(x, v128.load(b + k), s10);
      if (columns > 1) {
        s11 = fma(x, v128.load(b1 + k), s11);
        s12 = fma(x, v128.load(b2 + k), s12);
        s13 = fma(x, v128.load(b3 + k), s13);
      }
    }
    if (rows > 2) {
      x = v128.load(a2 + k);
      s20 = fma(x, v128.load(b + k), s20);
      if (columns > 1) {
        s21 = fma(x, v128.load(b1 + k), s21);
        s22 = fma(x, v128.load(b2 + k), s22);
        s23 = fma(x, v128.load(b3 + k), s23);
      }
    }
  }
  putSums(columns, s00, s01, s02, s03, a + wide, b + wide, K & 3, strideB, out, apart, addend);
  if (rows > 1) {
    const extra = addend ? addend + strideAddend : 0;
    putSums(columns, s10, s11, s12, s13, a1 + wide, b + wide, K & 3, strideB, out + strideOut, apart, extra);
  }
  if (rows > 2) {
    const extra = addend ? addend + strideAddend * 2 : 0;
    putSums(columns, s20, s21, s22, s23, a2 + wide, b + wide, K & 3, strideB, out + strideOut * 2, apart, extra);
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
