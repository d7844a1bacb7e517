// Products with a weight matrix. A thread reads its part of a matrix as four streams side by side, a block of
// each in turn: what memory delivers to one stream alone waits for the arithmetic between its lines (a matrix
// too large for the caches took two to three times as long). The sums of a tile lie in scratch memory of the
// thread, since four streams times four rows of activations are more than there are registers.
import { BLOCK, SCALES } from './rounding';
import { bytes14, bytes16, nibbles14, nibbles16, nibbles8 } from './blocks';
import { scratch } from './scratch';

export const NIBBLES_16: i32 = 3;
export const BYTES_16: i32 = 4;
export const NIBBLES_8: i32 = 15;
export const NIBBLES_14: i32 = 25;
export const BYTES_14: i32 = 26;

/** The sums of four of them, of four vectors each, fill the scratch. */
const STREAMS: usize = 4;

/**
 * out [T, N] = activations [T, K] · Wᵀ (+ addend [T, N]) (+ bias [N]) for the groups `from`..`to` of four rows
 * of W. `kind` is a constant: what the weights are and how activations were rounded; `size` numbers make a block.
 */
// @ts-ignore: decorator
@inline
export function linear(
  kind: i32, w: usize, q: usize, scales: usize, out: usize, addend: usize, bias: usize,
  T: usize, K: usize, N: usize, size: usize, hasMin: bool, from: usize, to: usize,
): void {
  const head: usize = hasMin ? 32 : 16;
  const stride = head + (kind === BYTES_16 || kind === BYTES_14 ? size * 4 : size * 2);
  const groupBytes = (K / size) * stride;
  const part = (to - from) / STREAMS;
  let g = from;
  let streams = part > 0 ? STREAMS : 1;
  while (g < to) {
    for (let t: usize = 0; t < T;) {
      if (t + 4 <= T) {
        tile(4, kind, w + g * groupBytes, part * groupBytes, stride, streams, q, scales, t, K, size, hasMin);
        put(4, streams, part, g, out, addend, bias, N, t);
        t += 4;
      } else if (t + 3 === T) {
        tile(3, kind, w + g * groupBytes, part * groupBytes, stride, streams, q, scales, t, K, size, hasMin);
        put(3, streams, part, g, out, addend, bias, N, t);
        t += 3;
      } else if (t + 2 === T) {
        tile(2, kind, w + g * groupBytes, part * groupBytes, stride, streams, q, scales, t, K, size, hasMin);
        put(2, streams, part, g, out, addend, bias, N, t);
        t += 2;
      } else {
        tile(1, kind, w + g * groupBytes, part * groupBytes, stride, streams, q, scales, t, K, size, hasMin);
        put(1, streams, part, g, out, addend, bias, N, t);
        t++;
      }
    }
    g++;
    // What four equal streams leave over is read alone.
    if (streams > 1 && g === from + part) {
      g = from + part * STREAMS;
      streams = 1;
    }
  }
}

/** Sums of `rows` rows of activations with one group of each stream. */
// @ts-ignore: decorator
@inline
function tile(
  rows: i32, kind: i32, group: usize, apart: usize, stride: usize, streams: usize,
  q: usize, scales: usize, t: usize, K: usize, size: usize, hasMin: bool,
): void {
  const row = kind === NIBBLES_8 ? K : K * 2;
  const scaleRow = (K / BLOCK) * SCALES;
  for (let i: usize = 0; i < streams * 64; i += 16) v128.store(scratch + i, f32x4.splat(0));
  let a = q + t * row;
  let s = scales + t * scaleRow;
  const step = kind === NIBBLES_8 ? size : size * 2;
  const end = a + row;
  let isLast = false;
  for (let block = group; a < end; block += stride) {
    let at = block;
    let acc = scratch;
    for (let i: usize = 0; i < streams; i++) {
      if (kind === NIBBLES_16) nibbles16(rows, at, a, row, s, scaleRow, acc);
      if (kind === BYTES_16) bytes16(rows, at, a, row, s, scaleRow, acc, size, hasMin);
      if (kind === NIBBLES_8) nibbles8(rows, at, a, row, s, scaleRow, acc);
      if (kind === NIBBLES_14) nibbles14(rows, at, a, row, s, scaleRow, acc);
      if (kind === BYTES_14) bytes14(rows, at, a, row, s, scaleRow, acc, hasMin);
      at += apart;
      acc += 64;
    }
    a += step;
    if (size === BLOCK || isLast) s += SCALES;
    isLast = !isLast;
  }
}

/** Takes the sums of a tile to their places, with addend and bias. */
function put(
  rows: usize, streams: usize, part: usize, group: usize, out: usize, addend: usize, bias: usize,
  N: usize, t: usize,
): void {
  for (let i: usize = 0; i < streams; i++) {
    const n = (group + i * part) * 4;
    for (let r: usize = 0; r < rows; r++) {
      putVector(v128.load(scratch + i * 64 + r * 16), out, addend, bias, n, N, t + r);
    }
  }
}

// @ts-ignore: decorator
@inline
function putVector(acc: v128, out: usize, addend: usize, bias: usize, n: usize, N: usize, t: usize): void {
  const at = (t * N + n) * 4;
  if (n + 4 <= N) {
    if (addend) acc = f32x4.add(acc, v128.load(addend + at));
    if (bias) acc = f32x4.add(acc, v128.load(bias + n * 4));
    v128.store(out + at, acc);
    return;
  }
  putTail(acc, out + at, addend ? addend + at : 0, bias ? bias + n * 4 : 0, N - n);
}

function putTail(acc: v128, out: usize, addend: usize, bias: usize, lanes: usize): void {
  for (let j: usize = 0; j < lanes; j++) {
    let x = f32x4.extract_lane(acc, 0);
    if (addend) x += load<f32>(addend + j * 4);
    if (bias) x += load<f32>(bias + j * 4);
    store<f32>(out + j * 4, x);
    acc = i8x16.shuffle(acc, acc, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3);
  }
}

/** fp32 weights, four rows interleaved number by number; activations fp32. */
export function linear32(
  w: usize, x: usize, out: usize, addend: usize, bias: usize,
  T: usize, K: usize, N: usize, from: usize, to: usize,
): void {
  const row = K * 4;
  for (let g = from; g < to; g++) {
    const group = w + g * K * 16;
    let t: usize = 0;
    for (; t + 4 <= T; t += 4) {
      let acc0 = f32x4.splat(0);
      let acc1 = f32x4.splat(0);
      let acc2 = f32x4.splat(0);
      let acc3 = f32x4.splat(0);
      const a = x + t * row;
      for (let k: usize = 0; k < row; k += 4) {
        const weights = v128.load(group + k * 4);
        acc0 = f32x4.add(acc0, f32x4.mul(weights, v128.load32_splat(a + k)));
        acc1 = f32x4.add(acc1, f32x4.mul(weights, v128.load32_splat(a + k + row)));
        acc2 = f32x4.add(acc2, f32x4.mul(weights, v128.load32_splat(a + k + row * 2)));
        acc3 = f32x4.add(acc3, f32x4.mul(weights, v128.load32_splat(a + k + row * 3)));
      }
      putVector(acc0, out, addend, bias, g * 4, N, t);
      putVector(acc1, out, addend, bias, g * 4, N, t + 1);
      putVector(acc2, out, addend, bias, g * 4, N, t + 2);
      putVector(acc3, out, addend, bias, g * 4, N, t + 3);
    }
    for (; t < T; t++) {
      let acc = f32x4.splat(0);
      const a = x + t * row;
      for (let k: usize = 0; k < row; k += 4) {
        acc = f32x4.add(acc, f32x4.mul(v128.load(group + k * 4), v128.load32_splat(a + k)));
      }
      putVector(acc, out, addend, bias, g * 4, N, t);
    }
  }
}
