// Products of two fp32 tensors, both row-major: attention scores, attention sums, LoRA. Each number is summed
// in one order, wherever it lies and however many rows are computed together.

/**
 * out [M, N] = (addend +) a [M, K] · b [K, N], columns `from`..`to`; one matrix of a batch. The sum begins with
 * the addend: a sum over K in parts, each the addend of the next, is the same to the last bit.
 */
export function timesRows(
  a: usize, b: usize, out: usize, addend: usize,
  M: usize, K: usize, N: usize, from: usize, to: usize,
): void {
  for (let m: usize = 0; m < M; m++) {
    const row = a + m * K * 4;
    const line = m * N * 4;
    let n = from;
    for (; n + 16 <= to; n += 16) {
      const to0 = line + n * 4;
      let acc0 = addend ? v128.load(addend + to0) : f32x4.splat(0);
      let acc1 = addend ? v128.load(addend + to0, 16) : f32x4.splat(0);
      let acc2 = addend ? v128.load(addend + to0, 32) : f32x4.splat(0);
      let acc3 = addend ? v128.load(addend + to0, 48) : f32x4.splat(0);
      let at = b + n * 4;
      for (let k: usize = 0; k < K; k++) {
        const x = v128.load32_splat(row + k * 4);
        acc0 = f32x4.add(acc0, f32x4.mul(x, v128.load(at)));
        acc1 = f32x4.add(acc1, f32x4.mul(x, v128.load(at, 16)));
        acc2 = f32x4.add(acc2, f32x4.mul(x, v128.load(at, 32)));
        acc3 = f32x4.add(acc3, f32x4.mul(x, v128.load(at, 48)));
        at += N * 4;
      }
      v128.store(out + to0, acc0);
      v128.store(out + to0, acc1, 16);
      v128.store(out + to0, acc2, 32);
      v128.store(out + to0, acc3, 48);
    }
    for (; n + 4 <= to; n += 4) {
      let acc = addend ? v128.load(addend + line + n * 4) : f32x4.splat(0);
      let at = b + n * 4;
      for (let k: usize = 0; k < K; k++) {
        acc = f32x4.add(acc, f32x4.mul(v128.load32_splat(row + k * 4), v128.load(at)));
        at += N * 4;
      }
      v128.store(out + line + n * 4, acc);
    }
    for (; n < to; n++) {
      let sum: f32 = addend ? load<f32>(addend + line + n * 4) : 0;
      for (let k: usize = 0; k < K; k++) {
        sum += load<f32>(row + k * 4) * load<f32>(b + (k * N + n) * 4);
      }
      store<f32>(out + line + n * 4, sum);
    }
  }
}

/** Adds lanes in the order in which `timesColumns` does. */
// @ts-ignore: decorator
@inline
function total(x: v128): f32 {
  return (
    f32x4.extract_lane(x, 0) + f32x4.extract_lane(x, 2) +
    (f32x4.extract_lane(x, 1) + f32x4.extract_lane(x, 3))
  );
}

function dot(a: usize, b: usize, K: usize): f32 {
  let acc = f32x4.splat(0);
  let k: usize = 0;
  for (; k + 4 <= K; k += 4) {
    acc = f32x4.add(acc, f32x4.mul(v128.load(a + k * 4), v128.load(b + k * 4)));
  }
  let sum = total(acc);
  for (; k < K; k++) sum += load<f32>(a + k * 4) * load<f32>(b + k * 4);
  return sum;
}

/** out [M, N] = a [M, K] · b [N, K]ᵀ (+ addend), columns `from`..`to`; one matrix of a batch. */
export function timesColumns(
  a: usize, b: usize, out: usize, addend: usize,
  M: usize, K: usize, N: usize, from: usize, to: usize,
): void {
  const wide = K & ~3;
  for (let m: usize = 0; m < M; m++) {
    const row = a + m * K * 4;
    const line = m * N * 4;
    let n = from;
    for (; n + 4 <= to; n += 4) {
      const b0 = b + n * K * 4;
      const b1 = b0 + K * 4;
      const b2 = b1 + K * 4;
      const b3 = b2 + K * 4;
      let s0 = f32x4.splat(0);
      let s1 = f32x4.splat(0);
      let s2 = f32x4.splat(0);
      let s3 = f32x4.splat(0);
      for (let k: usize = 0; k < wide * 4; k += 16) {
        const x = v128.load(row + k);
        s0 = f32x4.add(s0, f32x4.mul(x, v128.load(b0 + k)));
        s1 = f32x4.add(s1, f32x4.mul(x, v128.load(b1 + k)));
        s2 = f32x4.add(s2, f32x4.mul(x, v128.load(b2 + k)));
        s3 = f32x4.add(s3, f32x4.mul(x, v128.load(b3 + k)));
      }
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
      for (let k = wide; k < K; k++) {
        const x = f32x4.splat(load<f32>(row + k * 4));
        let y = f32x4.splat(load<f32>(b0 + k * 4));
        y = f32x4.replace_lane(y, 1, load<f32>(b1 + k * 4));
        y = f32x4.replace_lane(y, 2, load<f32>(b2 + k * 4));
        y = f32x4.replace_lane(y, 3, load<f32>(b3 + k * 4));
        acc = f32x4.add(acc, f32x4.mul(x, y));
      }
      if (addend) acc = f32x4.add(acc, v128.load(addend + line + n * 4));
      v128.store(out + line + n * 4, acc);
    }
    for (; n < to; n++) {
      let sum = dot(row, b + n * K * 4, K);
      if (addend) sum += load<f32>(addend + line + n * 4);
      store<f32>(out + line + n * 4, sum);
    }
  }
}
