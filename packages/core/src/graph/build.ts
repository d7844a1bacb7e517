// The words graphs are written in: one small function per operator, on values.
// Numbers become scalar constants. Nothing here knows of models, losses or gradients.
import { assert } from '../error.ts';
import type { Value } from './graph.ts';
import { ONNX_TYPE } from './ops.ts';
import type { Attributes, OpName } from './ops.ts';
import type { Dim } from './shape.ts';
import type { DType } from './tensor.ts';

type Operand = Value | number;

const one = (op: OpName, inputs: readonly Value[], attributes?: Attributes): Value =>
  inputs[0]!.graph.apply(op, inputs, attributes)[0]!;

function two(op: OpName, a: Operand, b: Operand): Value {
  const known = typeof a === 'number' ? b : a;
  assert(typeof known !== 'number', `${op} of two numbers`);
  const lift = (x: Operand): Value =>
    typeof x === 'number' ? known.graph.scalar(x, known.dtype as 'float32' | 'int64') : x;
  return one(op, [lift(a), lift(b)]);
}

// elementwise
export const add = (a: Operand, b: Operand): Value => two('Add', a, b);
export const sub = (a: Operand, b: Operand): Value => two('Sub', a, b);
export const mul = (a: Operand, b: Operand): Value => two('Mul', a, b);
export const div = (a: Operand, b: Operand): Value => two('Div', a, b);
export const minimum = (a: Operand, b: Operand): Value => two('Min', a, b);
export const maximum = (a: Operand, b: Operand): Value => two('Max', a, b);
export const pow = (a: Operand, b: Operand): Value => two('Pow', a, b);
export const neg = (x: Value): Value => one('Neg', [x]);
export const abs = (x: Value): Value => one('Abs', [x]);
export const exp = (x: Value): Value => one('Exp', [x]);
export const log = (x: Value): Value => one('Log', [x]);
export const sqrt = (x: Value): Value => one('Sqrt', [x]);
export const reciprocal = (x: Value): Value => one('Reciprocal', [x]);
export const sigmoid = (x: Value): Value => one('Sigmoid', [x]);
export const tanh = (x: Value): Value => one('Tanh', [x]);
export const erf = (x: Value): Value => one('Erf', [x]);
/** log(1 + eˣ), stable. */
export const softplus = (x: Value): Value => one('Softplus', [x]);
export const sin = (x: Value): Value => one('Sin', [x]);
export const cos = (x: Value): Value => one('Cos', [x]);
/** `a` where `condition`, else `b`. */
export function where(condition: Value, a: Operand, b: Operand): Value {
  const { graph } = condition;
  const lift = (x: Operand): Value => (typeof x === 'number' ? graph.scalar(x) : x);
  return one('Where', [condition, lift(a), lift(b)]);
}

// reduction
export const reduceSum = (x: Value, axes: readonly number[], keepdims = false): Value =>
  one('ReduceSum', [x], { axes, keepdims: Number(keepdims) });
export const reduceMean = (x: Value, axes: readonly number[], keepdims = false): Value =>
  one('ReduceMean', [x], { axes, keepdims: Number(keepdims) });
export const reduceMax = (x: Value, axes: readonly number[], keepdims = false): Value =>
  one('ReduceMax', [x], { axes, keepdims: Number(keepdims) });
/** log Σ eˣ = m + log Σ eˣ⁻ᵐ, m the maximum: an eighth of the time of ONNX Runtime's ReduceLogSumExp (docs/log.md). */
export function logSumExp(x: Value, axes: readonly number[], keepdims = false): Value {
  const top = detached(reduceMax(x, axes, true));
  const y = add(top, log(reduceSum(exp(sub(x, top)), axes, true)));
  return keepdims ? y : squeeze(y, axes);
}

// movement
export const reshape = (x: Value, shape: readonly Dim[]): Value => one('Reshape', [x], { shape });
export const transpose = (x: Value, perm: readonly number[]): Value =>
  one('Transpose', [x], { perm });
export const concat = (values: readonly Value[], axis: number): Value =>
  one('Concat', values, { axis });
/** Parts of known sizes along an axis. */
export const split = (x: Value, axis: number, dims: readonly number[]): readonly Value[] =>
  x.graph.apply('Split', [x, x.graph.constant(sizes(dims))], { axis, dims });
/** Parts as large as axis `axis` of each of `likes`, undoing a concat of them. */
export function splitLike(
  x: Value,
  axis: number,
  likes: readonly { value: Value; axis: number }[],
) {
  const parts = likes.map((like) => shapeOf(like.value, like.axis, like.axis + 1));
  const dims = likes.map((like) => like.value.shape[like.axis]!);
  return x.graph.apply('Split', [x, concat(parts, 0)], { axis, dims });
}
export const slice = (x: Value, axis: number, start: number, end: number): Value =>
  one('Slice', [x], { starts: [start], ends: [end], axes: [axis] });
export const unsqueeze = (x: Value, axes: readonly number[]): Value =>
  one('Unsqueeze', [x], { axes });
export const squeeze = (x: Value, axes: readonly number[]): Value => one('Squeeze', [x], { axes });
/** `x` broadcast to the shape of `like`. */
export const expandLike = (x: Value, like: Value): Value =>
  one('Expand', [x, shapeOf(like)], { dims: like.shape });

// matmul
export const matmul = (a: Value, b: Value): Value => one('MatMul', [a, b]);
/** A·Bᵀ: B [.., N, K] is read as it lies. */
export const matmulTransposed = (a: Value, b: Value): Value =>
  one('FusedMatMul', [a, b], { transB: 1 });
/** A·B of two matrices, either transposed first: one kernel, no copy. */
export const gemm = (a: Value, b: Value, { transA = false, transB = false } = {}): Value =>
  one('Gemm', [a, b], { transA: Number(transA), transB: Number(transB) });

// indexing
/** Slices of `x` along `axis` at int64 `indices`. */
export const gather = (x: Value, indices: Value, axis = 0): Value =>
  one('Gather', [x, indices], { axis });
export const gatherElements = (x: Value, indices: Value, axis: number): Value =>
  one('GatherElements', [x, indices], { axis });
export const gatherND = (x: Value, indices: Value, batchDims = 0): Value =>
  one('GatherND', [x, indices], { batch_dims: batchDims });

// normalisation
export const softmax = (x: Value, axis = -1): Value => one('Softmax', [x], { axis });
export const logSoftmax = (x: Value, axis = -1): Value => one('LogSoftmax', [x], { axis });
/** x / √(mean(x²) + ε) · weight over the last axis. */
export const rmsNorm = (x: Value, weight: Value, epsilon: number): Value =>
  one('SimplifiedLayerNormalization', [x, weight], { axis: -1, epsilon, stash_type: 1 });
export const layerNorm = (x: Value, weight: Value, bias: Value, epsilon: number): Value =>
  one('LayerNormalization', [x, weight, bias], { axis: -1, epsilon });

// quantised
/** x [R, C] of integers times scale [R, C / block] of each block of a row. */
export const dequantize = (x: Value, scale: Value): Value =>
  one('DequantizeLinear', [x, scale], {
    axis: 1,
    block_size: (x.shape[1] as number) / (scale.shape[1] as number),
  });

// without gradient
/** x, held for a constant by gradients. */
export const detached = (x: Value): Value => one('Identity', [x]);
export const equal = (a: Value, b: Operand): Value => two('Equal', a, b);
export const greater = (a: Value, b: Operand): Value => two('Greater', a, b);
export const less = (a: Value, b: Operand): Value => two('Less', a, b);
export const cast = (x: Value, dtype: DType): Value => one('Cast', [x], { to: ONNX_TYPE[dtype] });
/** Sizes of axes `start` to `end` as an int64 list. */
export const shapeOf = (x: Value, start = 0, end = x.shape.length): Value =>
  one('Shape', [x], { start, end });

const sizes = (dims: readonly number[]) =>
  ({ dtype: 'int64', shape: [dims.length], data: BigInt64Array.from(dims, BigInt) }) as const;
