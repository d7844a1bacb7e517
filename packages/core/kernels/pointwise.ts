// Element by element and row by row, in fp32.
import { fma } from './fma';
import {
  constant, EXP_0, EXP_1, EXP_2, EXP_3, EXP_4, EXP_5, EXP_LEAST, EXP_MOST, LN_2_HIGH, LN_2_LOW, LOG2_E, ONE, WHOLE,
} from './scratch';

/** eˣ: 2ⁿ · e^r with |r| ≤ ln 2 / 2 by a polynomial; relative error below 2e-7, 0 below −87.3. */
// @ts-ignore: decorator
@inline
export function exponential(x: v128): v128 {
  const tooSmall = f32x4.lt(x, constant(EXP_LEAST));
  // These let NaN pass when it stands first.
  const inside = f32x4.pmax(f32x4.pmin(x, constant(EXP_MOST)), constant(EXP_LEAST));
  // Added to a number of up to 22 bits, `WHOLE` rounds it to an integer, which the low bits then hold.
  const whole = fma(inside, constant(LOG2_E), constant(WHOLE));
  const n = f32x4.sub(whole, constant(WHOLE));
  const r = fma(n, constant(LN_2_LOW), fma(n, constant(LN_2_HIGH), inside));
  let p = constant(EXP_5);
  p = fma(p, r, constant(EXP_4));
  p = fma(p, r, constant(EXP_3));
  p = fma(p, r, constant(EXP_2));
  p = fma(p, r, constant(EXP_1));
  p = fma(p, r, constant(EXP_0));
  p = f32x4.add(fma(p, f32x4.mul(r, r), r), constant(ONE));
  // n is added to the exponent. It stays in its bounds: where n is 128, r is negative.
  return v128.andnot(i32x4.add(p, i32x4.shl(whole, 23)), tooSmall);
}

// @ts-ignore: decorator
@inline
function sigmoid(x: v128): v128 {
  const one = f32x4.splat(1);
  return f32x4.div(one, f32x4.add(one, exponential(f32x4.neg(x))));
}

// Small x cancels in 1 − 2/(e²ˣ+1): there the odd series to x⁷ is exact enough.
// @ts-ignore: decorator
@inline
function hyperbolicTangent(x: v128): v128 {
  const one = f32x4.splat(1);
  const e = exponential(f32x4.add(x, x));
  const far = f32x4.sub(one, f32x4.div(f32x4.splat(2), f32x4.add(e, one)));
  const s = f32x4.mul(x, x);
  let near = f32x4.add(f32x4.mul(s, f32x4.splat(-0.053968254)), f32x4.splat(0.13333333));
  near = f32x4.add(f32x4.mul(s, near), f32x4.splat(-0.33333333));
  near = f32x4.mul(x, f32x4.add(f32x4.mul(s, near), one));
  return v128.bitselect(near, far, f32x4.lt(f32x4.abs(x), f32x4.splat(0.2)));
}

// @ts-ignore: decorator
@inline
function one(kind: i32, x: v128): v128 {
  switch (kind) {
    case 0: return f32x4.neg(x);
    case 1: return exponential(x);
    case 2: return sigmoid(x);
    case 3: return hyperbolicTangent(x);
    case 4: return f32x4.sqrt(x);
    case 5: return f32x4.div(f32x4.splat(1), x);
    default: return f32x4.abs(x);
  }
}

// @ts-ignore: decorator
@inline
function two(kind: i32, a: v128, b: v128): v128 {
  switch (kind) {
    case 0: return f32x4.add(a, b);
    case 1: return f32x4.sub(a, b);
    case 2: return f32x4.mul(a, b);
    case 3: return f32x4.div(a, b);
    case 4: return f32x4.min(a, b);
    case 5: return f32x4.max(a, b);
    // SwiGLU: a · sigmoid(a) · b
    default: return f32x4.mul(f32x4.mul(a, sigmoid(a)), b);
  }
}

/** out = f(x) of elements `from`..`to`. */
export function unary(kind: i32, x: usize, out: usize, from: usize, to: usize): void {
  let i = from;
  for (; i + 4 <= to; i += 4) v128.store(out + i * 4, one(kind, v128.load(x + i * 4)));
  for (; i < to; i++) {
    store<f32>(out + i * 4, f32x4.extract_lane(one(kind, v128.load32_zero(x + i * 4)), 0));
  }
}

/** `n` elements; a step of 0 repeats the first number of that operand. */
function binaryRow(kind: i32, a: usize, b: usize, out: usize, stepA: usize, stepB: usize, n: usize): void {
  let i: usize = 0;
  if (stepA && stepB) {
    for (; i + 4 <= n; i += 4) {
      v128.store(out + i * 4, two(kind, v128.load(a + i * 4), v128.load(b + i * 4)));
    }
  } else if (stepA) {
    const y = v128.load32_splat(b);
    for (; i + 4 <= n; i += 4) v128.store(out + i * 4, two(kind, v128.load(a + i * 4), y));
  } else {
    const x = v128.load32_splat(a);
    for (; i + 4 <= n; i += 4) v128.store(out + i * 4, two(kind, x, v128.load(b + i * 4 * stepB)));
  }
  for (; i < n; i++) {
    const x = v128.load32_zero(a + i * 4 * stepA);
    const y = v128.load32_zero(b + i * 4 * stepB);
    store<f32>(out + i * 4, f32x4.extract_lane(two(kind, x, y), 0));
  }
}

/**
 * Rows `from`..`to` of a broadcast operation. `dims` lists four outer axes, each as size, stride of a,
 * stride of b (bytes); the last axis is `n` long with steps of 0 or 1 elements.
 */
export function binary(
  kind: i32, a: usize, b: usize, out: usize, n: usize, stepA: usize, stepB: usize,
  dims: usize, from: usize, to: usize,
): void {
  for (let row = from; row < to; row++) {
    let rest = row;
    let x = a;
    let y = b;
    for (let d: i32 = 3; d >= 0; d--) {
      const axis = dims + d * 12;
      const size = <usize>load<u32>(axis);
      const at = rest % size;
      rest /= size;
      x += at * load<u32>(axis, 4);
      y += at * load<u32>(axis, 8);
    }
    binaryRow(kind, x, y, out + row * n * 4, stepA, stepB, n);
  }
}

/** Rows `from`..`to` of a strided copy: `dims` lists five outer axes as size, source and target stride in bytes. */
export function copy(
  source: usize, target: usize, n: usize, step: usize, dims: usize, from: usize, to: usize,
): void {
  for (let row = from; row < to; row++) {
    let rest = row;
    let x = source;
    let y = target;
    for (let d: i32 = 4; d >= 0; d--) {
      const axis = dims + d * 12;
      const size = <usize>load<u32>(axis);
      const at = rest % size;
      rest /= size;
      x += at * load<u32>(axis, 4);
      y += at * load<u32>(axis, 8);
    }
    // No memory.copy: V8 checks it against the size that the thread's memory had when the thread began.
    let i: usize = 0;
    if (step === 4) {
      for (; i + 4 <= n; i += 4) v128.store(y + i * 4, v128.load(x + i * 4));
      for (; i < n; i++) store<u32>(y + i * 4, load<u32>(x + i * 4));
    } else {
      for (; i < n; i++) store<u32>(y + i * 4, load<u32>(x + i * step));
    }
  }
}

// @ts-ignore: decorator
@inline
function sumOf(x: v128): f32 {
  return (
    f32x4.extract_lane(x, 0) + f32x4.extract_lane(x, 1) +
    (f32x4.extract_lane(x, 2) + f32x4.extract_lane(x, 3))
  );
}

/** Of `n` numbers. */
export function largest(x: usize, n: usize): f32 {
  let top: f32 = -f32.MAX_VALUE * 2;
  let tops = f32x4.splat(top);
  let i: usize = 0;
  for (; i + 4 <= n; i += 4) tops = f32x4.pmax(tops, v128.load(x + i * 4));
  for (; i < n; i++) top = max(top, load<f32>(x + i * 4));
  return max(
    max(top, max(f32x4.extract_lane(tops, 0), f32x4.extract_lane(tops, 1))),
    max(f32x4.extract_lane(tops, 2), f32x4.extract_lane(tops, 3)),
  );
}

/** Added in fp64 and taken away again it leaves multiples of 2⁻³⁶, and sums of those up to 2¹⁷ are exact. */
const COARSE: f64 = 65536;

/**
 * e^(x − max) / Σ over rows of `n`. Σ does not depend on the order: zeros in between, where a mask hides tokens,
 * move nothing. A row of −∞ only gives NaN, as everywhere.
 */
export function softmax(x: usize, out: usize, n: usize, from: usize, to: usize): void {
  for (let row = from; row < to; row++) {
    const source = x + row * n * 4;
    const target = out + row * n * 4;
    const sum = exponentials(source, target, n, largest(source, n));
    scaleBy(<f32>(1 / sum), target, n);
  }
}

/** out = e^(x − top) of `n` numbers; gives their sum, which is the same in parts. */
export function exponentials(x: usize, out: usize, n: usize, top: f32): f64 {
  const large = f64x2.splat(COARSE);
  const peak = f32x4.splat(top);
  let acc0 = f64x2.splat(0);
  let acc1 = f64x2.splat(0);
  let i: usize = 0;
  for (; i + 4 <= n; i += 4) {
    const e = exponential(f32x4.sub(v128.load(x + i * 4), peak));
    const high = i8x16.shuffle(e, e, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
    acc0 = f64x2.add(acc0, f64x2.sub(f64x2.add(f64x2.promote_low_f32x4(e), large), large));
    acc1 = f64x2.add(acc1, f64x2.sub(f64x2.add(f64x2.promote_low_f32x4(high), large), large));
    v128.store(out + i * 4, e);
  }
  const acc = f64x2.add(acc0, acc1);
  let sum: f64 = f64x2.extract_lane(acc, 0) + f64x2.extract_lane(acc, 1);
  for (; i < n; i++) {
    const e = f32x4.extract_lane(exponential(f32x4.splat(load<f32>(x + i * 4) - top)), 0);
    sum += <f64>e + COARSE - COARSE;
    store<f32>(out + i * 4, e);
  }
  return sum;
}

/** x = factor · x, `n` numbers. */
export function scaleBy(factor: f32, x: usize, n: usize): void {
  const scale = f32x4.splat(factor);
  let i: usize = 0;
  for (; i + 4 <= n; i += 4) v128.store(x + i * 4, f32x4.mul(v128.load(x + i * 4), scale));
  for (; i < n; i++) store<f32>(x + i * 4, load<f32>(x + i * 4) * factor);
}

/** x / √(mean(x²) + ε) · weight over rows of `n`. */
export function rmsNorm(
  x: usize, weight: usize, out: usize, n: usize, epsilon: f32, from: usize, to: usize,
): void {
  for (let row = from; row < to; row++) {
    const source = x + row * n * 4;
    const target = out + row * n * 4;
    let acc = f32x4.splat(0);
    let i: usize = 0;
    for (; i + 4 <= n; i += 4) {
      const v = v128.load(source + i * 4);
      acc = f32x4.add(acc, f32x4.mul(v, v));
    }
    let sum = sumOf(acc);
    for (; i < n; i++) sum += load<f32>(source + i * 4) * load<f32>(source + i * 4);
    const inverse: f32 = 1 / sqrt<f32>(sum / <f32>n + epsilon);
    const scale = f32x4.splat(inverse);
    for (i = 0; i + 4 <= n; i += 4) {
      const v = f32x4.mul(v128.load(source + i * 4), scale);
      v128.store(target + i * 4, f32x4.mul(v, v128.load(weight + i * 4)));
    }
    for (; i < n; i++) {
      store<f32>(target + i * 4, load<f32>(source + i * 4) * inverse * load<f32>(weight + i * 4));
    }
  }
}

/** (x − mean) / √(variance + ε) · weight + bias over rows of `n`. */
export function layerNorm(
  x: usize, weight: usize, bias: usize, out: usize, n: usize, epsilon: f32, from: usize, to: usize,
): void {
  for (let row = from; row < to; row++) {
    const source = x + row * n * 4;
    const target = out + row * n * 4;
    let sum: f32 = 0;
    for (let i: usize = 0; i < n; i++) sum += load<f32>(source + i * 4);
    const mean: f32 = sum / <f32>n;
    let squares: f32 = 0;
    for (let i: usize = 0; i < n; i++) {
      const d: f32 = load<f32>(source + i * 4) - mean;
      squares += d * d;
    }
    const inverse: f32 = 1 / sqrt<f32>(squares / <f32>n + epsilon);
    for (let i: usize = 0; i < n; i++) {
      const v: f32 = (load<f32>(source + i * 4) - mean) * inverse;
      store<f32>(target + i * 4, v * load<f32>(weight + i * 4) + load<f32>(bias + i * 4));
    }
  }
}
