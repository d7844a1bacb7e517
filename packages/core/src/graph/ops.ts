// Every operator the project emits: its ONNX domain, which attributes ONNX wants as inputs, and its
// shape rule. One list, grouped; the gradient rules in @rapport/rlhf stand in the same groups and order.
// Semantics are those of https://onnx.ai/onnx/operators/ at opset 21.
import { assert } from '../error.ts';
import type { Value } from './graph.ts';
import { axisOf, broadcast, describe, matmulShape, reducedShape, sumDims } from './shape.ts';
import type { Dim, Shape } from './shape.ts';
import type { DType } from './tensor.ts';

/** Static parameters of a node. Shapes may hold dimension names. */
export type Attributes = Readonly<Record<string, number | string | readonly Dim[]>>;

/** What an operator yields. */
interface Typed {
  readonly dtype: DType;
  readonly shape: Shape;
}

interface OpSpec {
  /** '' is ONNX itself. */
  readonly domain: '' | 'com.microsoft';
  /** Attributes that ONNX takes as int64 inputs, in this order after the node's own inputs. */
  readonly asInputs: readonly string[];
  /** Attributes for our own shape rule, not written. */
  readonly private: readonly string[];
  infer(inputs: readonly Value[], attributes: Attributes): readonly Typed[];
}

const op = (
  infer: OpSpec['infer'],
  options: Partial<Pick<OpSpec, 'domain' | 'asInputs' | 'private'>> = {},
): OpSpec => ({ domain: '', asInputs: [], private: [], ...options, infer });

const at = (inputs: readonly Value[], i: number): Value => {
  const value = inputs[i];
  assert(value, `input ${i} is missing`);
  return value;
};
const like = (value: Value, shape: Shape = value.shape): readonly Typed[] => [
  { dtype: value.dtype, shape },
];
/** An integer attribute. */
export const int = (attributes: Attributes, name: string, fallback?: number): number => {
  const value = attributes[name] ?? fallback;
  assert(typeof value === 'number', `attribute ${name} must be a number`);
  return value;
};
/** A list-of-integers attribute. */
export const ints = (attributes: Attributes, name: string): readonly number[] => {
  const value = attributes[name];
  assert(Array.isArray(value), `attribute ${name} must be a list`);
  return value as readonly number[];
};
/** A list attribute that may hold dimension names. */
export const dims = (attributes: Attributes, name: string): readonly Dim[] =>
  ints(attributes, name) as readonly Dim[];

const unary = op((x) => like(at(x, 0)));
const binary = op((x) => {
  const [a, b] = [at(x, 0), at(x, 1)];
  assert(a.dtype === b.dtype, `${a.name} is ${a.dtype}, ${b.name} is ${b.dtype}`);
  return like(a, broadcast(a.shape, b.shape));
});
const comparison = op((x) => [{ dtype: 'bool', shape: broadcast(at(x, 0).shape, at(x, 1).shape) }]);
const reduction = op(
  (x, a) => like(at(x, 0), reducedShape(at(x, 0).shape, ints(a, 'axes'), int(a, 'keepdims') === 1)),
  { asInputs: ['axes'] },
);
const alongAxis = op((x, a) => {
  axisOf(int(a, 'axis'), at(x, 0).shape.length);
  return like(at(x, 0));
});

export const OPS = {
  // elementwise
  Add: binary,
  Sub: binary,
  Mul: binary,
  Div: binary,
  Min: binary,
  Max: binary,
  Pow: binary,
  Neg: unary,
  Abs: unary,
  Exp: unary,
  Log: unary,
  Sqrt: unary,
  Reciprocal: unary,
  Sigmoid: unary,
  Tanh: unary,
  Erf: unary,
  Softplus: unary,
  Sin: unary,
  Cos: unary,
  Where: op((x) => {
    const [c, a, b] = [at(x, 0), at(x, 1), at(x, 2)];
    assert(c.dtype === 'bool' && a.dtype === b.dtype, 'Where takes bool, T, T');
    return like(a, broadcast(c.shape, broadcast(a.shape, b.shape)));
  }),
  // reduction
  ReduceSum: reduction,
  ReduceMean: reduction,
  ReduceMax: reduction,
  // movement
  /** `shape`: at most one dimension that is neither a number nor the name at the same place of the input. */
  Reshape: op((x, a) => like(at(x, 0), dims(a, 'shape')), { asInputs: ['shape'] }),
  Transpose: op((x, a) => {
    const { shape } = at(x, 0);
    assert(ints(a, 'perm').length === shape.length, `perm does not fit ${describe(shape)}`);
    return like(
      at(x, 0),
      ints(a, 'perm').map((p) => shape[p]!),
    );
  }),
  Concat: op((x, a) => {
    const first = at(x, 0);
    const axis = axisOf(int(a, 'axis'), first.shape.length);
    return like(first, first.shape.with(axis, sumDims(x.map((v) => v.shape[axis]!))));
  }),
  /** Sizes per part in `dims`; named sizes need a second input, an int64 list. */
  Split: op(
    (x, a) => {
      const { dtype, shape } = at(x, 0);
      const axis = axisOf(int(a, 'axis'), shape.length);
      return dims(a, 'dims').map((d) => ({ dtype, shape: shape.with(axis, d) }));
    },
    { private: ['dims'] },
  ),
  /** Constant bounds; `axes` must be non-negative. */
  Slice: op(
    (x, a) => {
      const { shape } = at(x, 0);
      const [starts, ends] = [ints(a, 'starts'), ints(a, 'ends')];
      return like(
        at(x, 0),
        ints(a, 'axes').reduce<Shape>((s, axis, i) => {
          const size = s[axis]!;
          return s.with(axis, sliceDim(size, starts[i]!, ends[i]!));
        }, shape),
      );
    },
    { asInputs: ['starts', 'ends', 'axes'] },
  ),
  Unsqueeze: op(
    (x, a) => {
      const shape = [...at(x, 0).shape];
      for (const axis of [...ints(a, 'axes')].sort((p, q) => p - q)) shape.splice(axis, 0, 1);
      return like(at(x, 0), shape);
    },
    { asInputs: ['axes'] },
  ),
  Squeeze: op((x, a) => like(at(x, 0), reducedShape(at(x, 0).shape, ints(a, 'axes'), false)), {
    asInputs: ['axes'],
  }),
  /** Second input: the wanted shape as int64; `dims` says it in names. */
  Expand: op((x, a) => like(at(x, 0), dims(a, 'dims')), { private: ['dims'] }),
  // matmul
  MatMul: op((x) => like(at(x, 0), matmulShape(at(x, 0).shape, at(x, 1).shape))),
  /** alpha·A·B (two-dimensional), either transposed first. */
  Gemm: op((x, a) => {
    const flip = ({ shape }: Value, key: string): Shape =>
      int(a, key, 0) === 1 ? [shape[1]!, shape[0]!] : shape;
    return like(at(x, 0), matmulShape(flip(at(x, 0), 'transA'), flip(at(x, 1), 'transB')));
  }),
  /** A·Bᵀ with leading axes (`transB` is always 1 here): reads B as it lies, no transposed copy. */
  FusedMatMul: op(
    (x) => {
      const [a, b] = [at(x, 0), at(x, 1)];
      return like(
        a,
        matmulShape(a.shape, [...b.shape.slice(0, -2), b.shape.at(-1)!, b.shape.at(-2)!]),
      );
    },
    { domain: 'com.microsoft' },
  ),
  // indexing
  Gather: op((x, a) => {
    const { shape } = at(x, 0);
    const axis = axisOf(int(a, 'axis', 0), shape.length);
    return like(at(x, 0), [...shape.slice(0, axis), ...at(x, 1).shape, ...shape.slice(axis + 1)]);
  }),
  GatherElements: op((x) => like(at(x, 0), at(x, 1).shape)),
  /** data, indices, updates; with `reduction: 'add'` repeated indices accumulate. */
  ScatterElements: op((x) => like(at(x, 0))),
  /** data [B…, M, …], indices [B…, N, 1]: rows per batch when batch_dims counts the shared axes. */
  GatherND: op((x, a) => {
    const [data, indices] = [at(x, 0).shape, at(x, 1).shape];
    const depth = indices.at(-1);
    assert(typeof depth === 'number', 'GatherND needs a known index depth');
    return like(at(x, 0), [
      ...indices.slice(0, -1),
      ...data.slice(int(a, 'batch_dims', 0) + depth),
    ]);
  }),
  /** data, indices [N…, K], updates; with `reduction: 'add'` repeated indices accumulate. */
  ScatterND: op((x) => like(at(x, 0))),
  // normalisation
  Softmax: alongAxis,
  LogSoftmax: alongAxis,
  /** Root-mean-square norm over the last axis times a weight; fused in ONNX Runtime. */
  SimplifiedLayerNormalization: op((x) => like(at(x, 0))),
  LayerNormalization: op((x) => like(at(x, 0))),
  // quantised
  DequantizeLinear: op((x) => [{ dtype: 'float32', shape: at(x, 0).shape }]),
  /** A [.., K] times a block-quantised B of N columns. */
  MatMulNBits: op((x, a) => like(at(x, 0), [...at(x, 0).shape.slice(0, -1), int(a, 'N')]), {
    domain: 'com.microsoft',
  }),
  // without gradient
  /** `detached`: no gradient passes, whatever made the value. */
  Identity: unary,
  Equal: comparison,
  Greater: comparison,
  GreaterOrEqual: comparison,
  Less: comparison,
  LessOrEqual: comparison,
  And: comparison,
  Or: comparison,
  Not: unary,
  Sign: unary,
  Cast: op((x, a) => [{ dtype: castTarget(a), shape: at(x, 0).shape }]),
  /** The sizes from axis `start` to `end` as int64. */
  Shape: op((x, a) => {
    const rank = at(x, 0).shape.length;
    const end = Math.min(int(a, 'end', rank), rank);
    return [{ dtype: 'int64', shape: [end - int(a, 'start', 0)] }];
  }),
  ArgMax: op((x, a) => [
    {
      dtype: 'int64',
      shape: reducedShape(at(x, 0).shape, [int(a, 'axis')], int(a, 'keepdims', 1) === 1),
    },
  ]),
} satisfies Record<string, OpSpec>;

export type OpName = keyof typeof OPS;

/** ONNX element-type numbers (TensorProto.DataType). */
export const ONNX_TYPE: Record<DType, number> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
};

function castTarget(attributes: Attributes): DType {
  const code = int(attributes, 'to');
  const found = Object.entries(ONNX_TYPE).find(([, c]) => c === code);
  assert(found, `Cast to unknown type ${code}`);
  return found[0] as DType;
}

function sliceDim(size: Dim, start: number, end: number): Dim {
  if (typeof size === 'string') return `${size}[${start}:${end}]`;
  const clamp = (i: number) => Math.max(0, Math.min(size, i < 0 ? i + size : i));
  return Math.max(0, clamp(end) - clamp(start));
}
