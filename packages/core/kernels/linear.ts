// Products with a weight matrix, four output rows to a vector: lane j of every register belongs to
// row 4g + j. Weight layouts are written by src/runtime/simd/pack.ts and described there.
// Activations are int16 per block of 32 with one fp32 scale: i32x4.dot_i16x8_s multiplies 16-bit
// numbers anyway, so the eight more bits than int8 cost nothing but their bytes.

/** Numbers of an activation row that share a scale. */
const BLOCK: usize = 32;

/**
 * Rounds `rows` rows of `width` fp32 numbers (a multiple of 32) to int16, block by block.
 * `scales` gets per block the step and the step times the sum of the block's integers.
 */
export function quantise(x: usize, width: usize, q: usize, scales: usize, from: usize, to: usize): void {
  const blocks = width / BLOCK;
  for (let i = from * blocks; i < to * blocks; i++) {
    const source = x + i * BLOCK * 4;
    let peak = f32x4.splat(0);
    for (let k: usize = 0; k < BLOCK * 4; k += 16) {
      peak = f32x4.max(peak, f32x4.abs(v128.load(source + k)));
    }
    const top = max(
      max(f32x4.extract_lane(peak, 0), f32x4.extract_lane(peak, 1)),
      max(f32x4.extract_lane(peak, 2), f32x4.extract_lane(peak, 3)),
    );
    // Below the smallest normal number the reciprocal overflows: such a block counts as zero.
    const inverse = f32x4.splat(top > 1e-30 ? 32767 / top : 0);
    let sum = i32x4.splat(0);
    for (let k: usize = 0; k < BLOCK * 4; k += 32) {
      const low = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(source + k), inverse)));
      const high = i32x4.trunc_sat_f32x4_s(
        f32x4.nearest(f32x4.mul(v128.load(source + k, 16), inverse)),
      );
      sum = i32x4.add(sum, i32x4.add(low, high));
      v128.store(q + i * BLOCK * 2 + k / 2, i16x8.narrow_i32x4_s(low, high));
    }
    const step: f32 = top / 32767;
    const total =
      i32x4.extract_lane(sum, 0) +
      i32x4.extract_lane(sum, 1) +
      i32x4.extract_lane(sum, 2) +
      i32x4.extract_lane(sum, 3);
    store<f32>(scales + i * 8, step);
    store<f32>(scales + i * 8, step * <f32>total, 4);
  }
}

// @ts-ignore: decorator
@inline
function mac(sum: v128, weights: v128, pair: usize): v128 {
  return i32x4.add(sum, i32x4.dot_i16x8_s(weights, v128.load32_splat(pair)));
}

// @ts-ignore: decorator
@inline
function scaled(acc: v128, sum: v128, step: v128, scale: usize): v128 {
  return f32x4.add(
    acc,
    f32x4.mul(f32x4.convert_i32x4_s(sum), f32x4.mul(step, v128.load32_splat(scale))),
  );
}

// @ts-ignore: decorator
@inline
function offset(acc: v128, min: v128, scale: usize): v128 {
  return f32x4.add(acc, f32x4.mul(min, v128.load32_splat(scale, 4)));
}

/** Where results go: [T, N] fp32, plus an optional addend of that shape and an optional bias [N]. */
// @ts-ignore: decorator
@inline
function put(acc: v128, out: usize, addend: usize, bias: usize, n: usize, N: usize, t: usize): void {
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

/** 4-bit blocks of 32: step and minimum (16 bytes each), then 64 bytes of nibbles. */
export function linear4(
  w: usize, q: usize, scales: usize, out: usize, addend: usize, bias: usize,
  T: usize, K: usize, N: usize, from: usize, to: usize,
): void {
  const blocks = K / BLOCK;
  const low = i16x8.splat(15);
  const row = K * 2;
  const scaleRow = blocks * 8;
  for (let g = from; g < to; g++) {
    const group = w + g * blocks * 96;
    let t: usize = 0;
    for (; t + 4 <= T; t += 4) {
      let acc0 = f32x4.splat(0);
      let acc1 = f32x4.splat(0);
      let acc2 = f32x4.splat(0);
      let acc3 = f32x4.splat(0);
      let at = group;
      let a = q + t * row;
      let s = scales + t * scaleRow;
      for (let b: usize = 0; b < blocks; b++) {
        let s0 = i32x4.splat(0);
        let s1 = i32x4.splat(0);
        let s2 = i32x4.splat(0);
        let s3 = i32x4.splat(0);
        for (let v: usize = 0; v < 64; v += 16) {
          const nibbles = v128.load(at + v, 32);
          const n0 = v128.and(nibbles, low);
          const n1 = v128.and(i16x8.shr_u(nibbles, 4), low);
          const n2 = v128.and(i16x8.shr_u(nibbles, 8), low);
          const n3 = i16x8.shr_u(nibbles, 12);
          const a0 = a + v;
          const a1 = a0 + row;
          const a2 = a1 + row;
          const a3 = a2 + row;
          s0 = mac(mac(mac(mac(s0, n0, a0), n1, a0 + 4), n2, a0 + 8), n3, a0 + 12);
          s1 = mac(mac(mac(mac(s1, n0, a1), n1, a1 + 4), n2, a1 + 8), n3, a1 + 12);
          s2 = mac(mac(mac(mac(s2, n0, a2), n1, a2 + 4), n2, a2 + 8), n3, a2 + 12);
          s3 = mac(mac(mac(mac(s3, n0, a3), n1, a3 + 4), n2, a3 + 8), n3, a3 + 12);
        }
        const step = v128.load(at);
        const min = v128.load(at, 16);
        acc0 = offset(scaled(acc0, s0, step, s), min, s);
        acc1 = offset(scaled(acc1, s1, step, s + scaleRow), min, s + scaleRow);
        acc2 = offset(scaled(acc2, s2, step, s + scaleRow * 2), min, s + scaleRow * 2);
        acc3 = offset(scaled(acc3, s3, step, s + scaleRow * 3), min, s + scaleRow * 3);
        at += 96;
        a += 64;
        s += 8;
      }
      put(acc0, out, addend, bias, g * 4, N, t);
      put(acc1, out, addend, bias, g * 4, N, t + 1);
      put(acc2, out, addend, bias, g * 4, N, t + 2);
      put(acc3, out, addend, bias, g * 4, N, t + 3);
    }
    for (; t < T; t++) {
      let acc = f32x4.splat(0);
      let at = group;
      let a = q + t * row;
      let s = scales + t * scaleRow;
      for (let b: usize = 0; b < blocks; b++) {
        let even = i32x4.splat(0);
        let odd = i32x4.splat(0);
        for (let v: usize = 0; v < 4; v++) {
          const nibbles = v128.load(at + v * 16, 32);
          const a0 = a + v * 16;
          even = mac(even, v128.and(nibbles, low), a0);
          odd = mac(odd, v128.and(i16x8.shr_u(nibbles, 4), low), a0 + 4);
          even = mac(even, v128.and(i16x8.shr_u(nibbles, 8), low), a0 + 8);
          odd = mac(odd, i16x8.shr_u(nibbles, 12), a0 + 12);
        }
        acc = offset(scaled(acc, i32x4.add(even, odd), v128.load(at), s), v128.load(at, 16), s);
        at += 96;
        a += 64;
        s += 8;
      }
      put(acc, out, addend, bias, g * 4, N, t);
    }
  }
}

/** 8-bit blocks of `size` (16 or 32): step, minimum when `mins`, then 4·size bytes. */
export function linear8(
  w: usize, q: usize, scales: usize, out: usize, addend: usize, bias: usize,
  T: usize, K: usize, N: usize, size: usize, mins: usize, from: usize, to: usize,
): void {
  const blocks = K / size;
  const head: usize = mins ? 32 : 16;
  const stride = head + size * 4;
  const row = K * 2;
  const scaleRow = (K / BLOCK) * 8;
  for (let g = from; g < to; g++) {
    const group = w + g * blocks * stride;
    let t: usize = 0;
    for (; t + 4 <= T; t += 4) {
      let acc0 = f32x4.splat(0);
      let acc1 = f32x4.splat(0);
      let acc2 = f32x4.splat(0);
      let acc3 = f32x4.splat(0);
      let at = group;
      let a = q + t * row;
      for (let b: usize = 0; b < blocks; b++) {
        const s = scales + t * scaleRow + ((b * size) / BLOCK) * 8;
        let s0 = i32x4.splat(0);
        let s1 = i32x4.splat(0);
        let s2 = i32x4.splat(0);
        let s3 = i32x4.splat(0);
        for (let v: usize = 0; v < size * 4; v += 16) {
          const bytes = v128.load(at + head + v);
          const w0 = i16x8.shr_s(i16x8.shl(bytes, 8), 8);
          const w1 = i16x8.shr_s(bytes, 8);
          const a0 = a + v / 2;
          const a1 = a0 + row;
          const a2 = a1 + row;
          const a3 = a2 + row;
          s0 = mac(mac(s0, w0, a0), w1, a0 + 4);
          s1 = mac(mac(s1, w0, a1), w1, a1 + 4);
          s2 = mac(mac(s2, w0, a2), w1, a2 + 4);
          s3 = mac(mac(s3, w0, a3), w1, a3 + 4);
        }
        const step = v128.load(at);
        acc0 = scaled(acc0, s0, step, s);
        acc1 = scaled(acc1, s1, step, s + scaleRow);
        acc2 = scaled(acc2, s2, step, s + scaleRow * 2);
        acc3 = scaled(acc3, s3, step, s + scaleRow * 3);
        if (mins) {
          const min = v128.load(at, 16);
          acc0 = offset(acc0, min, s);
          acc1 = offset(acc1, min, s + scaleRow);
          acc2 = offset(acc2, min, s + scaleRow * 2);
          acc3 = offset(acc3, min, s + scaleRow * 3);
        }
        at += stride;
        a += size * 2;
      }
      put(acc0, out, addend, bias, g * 4, N, t);
      put(acc1, out, addend, bias, g * 4, N, t + 1);
      put(acc2, out, addend, bias, g * 4, N, t + 2);
      put(acc3, out, addend, bias, g * 4, N, t + 3);
    }
    for (; t < T; t++) {
      let acc = f32x4.splat(0);
      let at = group;
      let a = q + t * row;
      for (let b: usize = 0; b < blocks; b++) {
        const s = scales + t * scaleRow + ((b * size) / BLOCK) * 8;
        let even = i32x4.splat(0);
        let odd = i32x4.splat(0);
        for (let v: usize = 0; v < size * 4; v += 16) {
          const bytes = v128.load(at + head + v);
          even = mac(even, i16x8.shr_s(i16x8.shl(bytes, 8), 8), a + v / 2);
          odd = mac(odd, i16x8.shr_s(bytes, 8), a + v / 2 + 4);
        }
        acc = scaled(acc, i32x4.add(even, odd), v128.load(at), s);
        if (mins) acc = offset(acc, v128.load(at, 16), s);
        at += stride;
        a += size * 2;
      }
      put(acc, out, addend, bias, g * 4, N, t);
    }
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
      put(acc0, out, addend, bias, g * 4, N, t);
      put(acc1, out, addend, bias, g * 4, N, t + 1);
      put(acc2, out, addend, bias, g * 4, N, t + 2);
      put(acc3, out, addend, bias, g * 4, N, t + 3);
    }
    for (; t < T; t++) {
      let acc = f32x4.splat(0);
      const a = x + t * row;
      for (let k: usize = 0; k < row; k += 4) {
        acc = f32x4.add(acc, f32x4.mul(v128.load(group + k * 4), v128.load32_splat(a + k)));
      }
      put(acc, out, addend, bias, g * 4, N, t);
    }
  }
}
