// The local derivative of every operator, as new graph nodes, in the groups and order of core's op table.
// A rule knows one node and the gradient of its output; broadcasting and accumulation are the walker's.
import { assert, axisOf, int, ints, op } from '@rapport/core';
import type { DType, Node, OpName, Value } from '@rapport/core';
import { againLate } from './recompute.ts';

/** Operators that stop a gradient: piecewise constant and detached ones quietly, opaque ones with an error. */
export const NON_DIFFERENTIABLE = {
  DequantizeLinear: 'opaque',
  MatMulNBits: 'opaque',
  Identity: 'constant',
  Equal: 'constant',
  Greater: 'constant',
  GreaterOrEqual: 'constant',
  Less: 'constant',
  LessOrEqual: 'constant',
  And: 'constant',
  Or: 'constant',
  Not: 'constant',
  Sign: 'constant',
  Shape: 'constant',
  ArgMax: 'constant',
} as const satisfies Partial<Record<OpName, 'opaque' | 'constant'>>;

type NonDifferentiableOp = keyof typeof NON_DIFFERENTIABLE;
/** Every other operator: a new one does not compile until it has a rule here and a finite-difference case. */
export type DifferentiableOp = Exclude<OpName, NonDifferentiableOp>;

/** Gradient of one input, made only when somebody needs it; null where there is none (indices, conditions). */
type Local = (() => Value) | null;
/** `x`: the node's inputs; `g`: gradient of its first output; `node`: the rest. Gradients may be broadcast. */
type Rule = (x: readonly Value[], g: Value, node: Node, all: readonly Value[]) => readonly Local[];

const { add, sub, mul, div, neg, where, matmul, gemm, reduceSum, reduceMean, expandLike } = op;

export const RULES = {
  // elementwise
  Add: (_, g) => [() => g, () => g],
  Sub: (_, g) => [() => g, () => neg(g)],
  Mul: ([a, b], g) => [() => mul(g, b!), () => mul(g, a!)],
  /** ∂(a/b) = 1/b, −y/b */
  Div: ([, b], g, { outputs: [y] }) => [() => div(g, b!), () => neg(mul(g, div(y!, b!)))],
  Min: ([a, b], g) => [
    () => share(op.less(a!, b!), a!, b!, g),
    () => share(op.less(b!, a!), a!, b!, g),
  ],
  Max: ([a, b], g) => [
    () => share(op.greater(a!, b!), a!, b!, g),
    () => share(op.greater(b!, a!), a!, b!, g),
  ],
  /** ∂aᵇ = b·aᵇ⁻¹, aᵇ·log a */
  Pow: ([a, b], g, { outputs: [y] }) => [
    () => mul(g, mul(b!, op.pow(a!, sub(b!, 1)))),
    () => mul(g, mul(y!, op.log(a!))),
  ],
  Neg: (_, g) => [() => neg(g)],
  Abs: ([x], g) => [() => mul(g, x!.graph.apply('Sign', [x!])[0]!)],
  Exp: (_, g, { outputs: [y] }) => [() => mul(g, y!)],
  Log: ([x], g) => [() => div(g, x!)],
  /** ∂√x = 1/(2√x) */
  Sqrt: (_, g, { outputs: [y] }) => [() => div(mul(g, 0.5), y!)],
  /** ∂(1/x) = −y² */
  Reciprocal: (_, g, { outputs: [y] }) => [() => neg(mul(g, mul(y!, y!)))],
  /** ∂σ = y(1 − y) */
  Sigmoid: (_, g, { outputs: [y] }) => [() => mul(g, mul(y!, sub(1, y!)))],
  /** ∂tanh = 1 − y² */
  Tanh: (_, g, { outputs: [y] }) => [() => mul(g, sub(1, mul(y!, y!)))],
  /** ∂erf = 2/√π · e^(−x²) */
  Erf: ([x], g) => [() => mul(g, mul(op.exp(neg(mul(x!, x!))), 2 / Math.sqrt(Math.PI)))],
  Softplus: ([x], g) => [() => mul(g, op.sigmoid(x!))],
  Sin: ([x], g) => [() => mul(g, op.cos(x!))],
  Cos: ([x], g) => [() => neg(mul(g, op.sin(x!)))],
  Where: ([c], g) => [null, () => where(c!, g, 0), () => where(c!, 0, g)],
  // reduction
  /** The walker repeats g. */
  ReduceSum: (_, g, node) => [() => keepDims(g, node)],
  ReduceMean: (_, g, node) => [() => div(keepDims(g, node), reducedCount(node))],
  /** Equal maxima share the gradient. */
  ReduceMax: ([x], g, node) => [
    () => {
      const top = op.cast(op.equal(x!, keepDims(node.outputs[0]!, node)), 'float32');
      return mul(keepDims(g, node), div(top, reduceSum(top, ints(node.attributes, 'axes'), true)));
    },
  ],
  // movement
  Reshape: ([x], g) => [() => op.reshape(g, x!.shape)],
  Transpose: (_, g, node) => [() => op.transpose(g, inverse(ints(node.attributes, 'perm')))],
  Concat: (x, g, node) => {
    const axis = axisOf(int(node.attributes, 'axis'), g.shape.length);
    let parts: readonly Value[] | undefined;
    const part = (i: number) =>
      (parts ??= op.splitLike(
        g,
        axis,
        x.map((value) => ({ value, axis })),
      ))[i]!;
    return x.map((_, i) => () => part(i));
  },
  Split: (_, g, node, all) => [
    () => op.concat(all, axisOf(int(node.attributes, 'axis'), g.shape.length)),
    null,
  ],
  Slice: ([x], g, node) => [() => unslice(x!, g, node)],
  Unsqueeze: (_, g, node) => [() => op.squeeze(g, ints(node.attributes, 'axes'))],
  Squeeze: ([x], g, node) => [
    () =>
      op.unsqueeze(
        g,
        ints(node.attributes, 'axes').map((a) => axisOf(a, x!.shape.length)),
      ),
  ],
  /** The walker sums over the broadcast axes. */
  Expand: (_, g) => [() => g, null],
  // matmul
  /** ∂A = g·Bᵀ, ∂B = Aᵀ·g; a matrix B meets all leading axes of A as one tall matrix. */
  MatMul: ([a, b], g) => [
    () => timesTransposed(g, b!),
    () =>
      b!.shape.length === 2 ? gemm(rows(a!), rows(g), { transA: true }) : matmul(swapLast(a!), g),
  ],
  Gemm: ([a, b], g, { attributes }) => {
    const [ta, tb] = [int(attributes, 'transA', 0) === 1, int(attributes, 'transB', 0) === 1];
    return [
      () => (ta ? gemm(b!, g, { transA: tb, transB: true }) : gemm(g, b!, { transB: !tb })),
      () => (tb ? gemm(g, a!, { transA: true, transB: ta }) : gemm(a!, g, { transA: !ta })),
    ];
  },
  /** A·Bᵀ: ∂A = g·B, ∂B = gᵀ·A */
  FusedMatMul: ([a, b], g) => [
    () => matmul(g, againLate(b!, g)),
    () =>
      b!.shape.length === 2 ? gemm(rows(g), rows(a!), { transA: true }) : matmul(swapLast(g), a!),
  ],
  // indexing
  Gather: ([x, indices], g, node) => [() => scatterSlices(x!, indices!, g, node), null],
  GatherElements: ([x, indices], g, node) => [
    () => scatterElements(zerosLike(x!), indices!, g, int(node.attributes, 'axis')),
    null,
  ],
  ScatterElements: ([, indices], g, { attributes }) => [
    () => {
      if (attributes['reduction'] === 'add') return g;
      const updates = op.gatherElements(g, indices!, int(attributes, 'axis'));
      return g.graph.apply('ScatterElements', [g, indices!, zerosLike(updates)], attributes)[0]!;
    },
    null,
    () => op.gatherElements(g, indices!, int(attributes, 'axis')),
  ],
  GatherND: ([x, indices], g, node) => [
    () => {
      const axis = int(node.attributes, 'batch_dims', 0);
      if (axis === 0) return scatterND(zerosLike(x!), indices!, g);
      assert(indices!.shape.at(-1) === 1, 'the gradient of a batched GatherND takes index depth 1');
      const extra = Array.from({ length: g.shape.length - axis - 2 }, (_, i) => axis + 2 + i);
      const wide = extra.length ? op.unsqueeze(indices!, extra) : indices!;
      const flat = g.shape.length === axis + 1 ? op.squeeze(indices!, [axis + 1]) : wide;
      return scatterElements(zerosLike(x!), expandLike(flat, g), g, axis);
    },
    null,
  ],
  ScatterND: ([, indices, updates], g, { attributes }) => [
    () =>
      attributes['reduction'] === 'add'
        ? g
        : g.graph.apply('ScatterND', [g, indices!, zerosLike(updates!)], attributes)[0]!,
    null,
    () => op.gatherND(g, indices!),
  ],
  // normalisation
  /** ∂x = y(g − Σ g·y) */
  Softmax: (_, g, { outputs: [y], attributes }) => [
    () => {
      const weighted = mul(g, y!);
      const axis = axisOf(int(attributes, 'axis', -1), y!.shape.length);
      return sub(weighted, mul(y!, reduceSum(weighted, [axis], true)));
    },
  ],
  /** ∂x = g − eʸ·Σg */
  LogSoftmax: (_, g, { outputs: [y], attributes }) => [
    () => {
      const axis = axisOf(int(attributes, 'axis', -1), y!.shape.length);
      return sub(g, mul(op.exp(y!), reduceSum(g, [axis], true)));
    },
  ],
  /** y = x·r·w, r = (mean x² + ε)^−½: ∂x = r·(gw − x·r²·mean(gw·x)), ∂w = g·x·r */
  SimplifiedLayerNormalization: ([x, w], g, { attributes }) => {
    const last = [x!.shape.length - 1];
    const r = once(() => inverseRoot(reduceMean(mul(x!, x!), last, true), attributes['epsilon']));
    return [
      () => {
        const gw = mul(g, w!);
        const along = mul(mul(r(), mul(r(), r())), reduceMean(mul(gw, x!), last, true));
        return sub(mul(gw, r()), mul(x!, along));
      },
      () => mul(g, mul(x!, r())),
    ];
  },
  /** y = x̂·w + b: ∂x = r·(gw − mean(gw) − x̂·mean(gw·x̂)) */
  LayerNormalization: ([x, w], g, { attributes }) => {
    const last = [x!.shape.length - 1];
    const centred = once(() => sub(x!, reduceMean(x!, last, true)));
    const r = once(() =>
      inverseRoot(reduceMean(mul(centred(), centred()), last, true), attributes['epsilon']),
    );
    const unit = once(() => mul(centred(), r()));
    return [
      () => {
        const gw = mul(g, w!);
        const level = reduceMean(gw, last, true);
        const along = mul(unit(), reduceMean(mul(gw, unit()), last, true));
        return mul(r(), sub(sub(gw, level), along));
      },
      () => mul(g, unit()),
      () => g,
    ];
  },
  // types
  Cast: ([x], g) => [isFloat(x!.dtype) ? () => op.cast(g, x!.dtype) : null],
} satisfies Record<DifferentiableOp, Rule>;

/** Whether a gradient can exist for values of this type. */
export const isFloat = (dtype: DType): boolean => dtype === 'float32' || dtype === 'float16';

/** Zeros in the shape of `x`. */
export const zerosLike = (x: Value): Value => expandLike(x.graph.scalar(0), x);

/** The part of `g` for the winner of a Min or Max; ties take half each. */
const share = (wins: Value, a: Value, b: Value, g: Value): Value =>
  where(wins, g, where(op.equal(a, b), mul(g, 0.5), 0));

/** A reduction's result with the reduced axes back as size 1. */
function keepDims(g: Value, { inputs: [x], attributes }: Node): Value {
  if (int(attributes, 'keepdims') === 1) return g;
  const axes = ints(attributes, 'axes').map((a) => axisOf(a, x!.shape.length));
  return op.unsqueeze(g, axes);
}

/** How many elements each result of a reduction was made from: a number, or a scalar known when the graph runs. */
function reducedCount({ inputs: [x], attributes }: Node): number | Value {
  let count: number | Value = 1;
  for (const axis of ints(attributes, 'axes').map((a) => axisOf(a, x!.shape.length))) {
    const size = x!.shape[axis]!;
    const factor: number | Value =
      typeof size === 'number' ? size : op.cast(op.shapeOf(x!, axis, axis + 1), 'float32');
    count =
      typeof count === 'number' && typeof factor === 'number' ? count * factor : mul(count, factor);
  }
  return count;
}

const inverse = (perm: readonly number[]): number[] => perm.map((_, i) => perm.indexOf(i));

/** The last two axes exchanged; a transposition is undone rather than repeated. */
function swapLast(x: Value): Value {
  const perm = x.shape.map((_, i) => i);
  [perm[perm.length - 2], perm[perm.length - 1]] = [perm.length - 1, perm.length - 2];
  const undone = x.node?.op === 'Transpose' && String(x.node.attributes['perm']) === String(perm);
  return undone ? x.node!.inputs[0]! : op.transpose(x, perm);
}

/** g·Bᵀ. A frozen matrix is read transposed by the kernel: ONNX Runtime would fold a Transpose of it into a second copy. */
function timesTransposed(g: Value, b: Value): Value {
  if (b.node === null && b.shape.length === 2) return op.matmulTransposed(g, b);
  return matmul(g, swapLast(b));
}

/** All leading axes as one. */
const rows = (x: Value): Value =>
  x.shape.length === 2 ? x : op.reshape(x, [x.shape.slice(0, -1).join('*'), x.shape.at(-1)!]);

/** g put back at its place among zeros. */
function unslice(x: Value, g: Value, { attributes }: Node): Value {
  const lists = ['starts', 'ends', 'axes'].map((name) => ints(attributes, name));
  const [[start], [end], [axis]] = lists as [number[], number[], number[]];
  assert(lists[2]!.length === 1, 'the gradient of Slice takes one axis');
  const size = x.shape[axis!]!;
  const parts = [g];
  if (start !== 0) parts.unshift(zerosLike(op.slice(x, axis!, 0, start!)));
  const toEnd = typeof size === 'number' ? end! >= size : end! >= 2 ** 31 - 1;
  if (!toEnd) parts.push(zerosLike(op.slice(x, axis!, end!, 2 ** 31 - 1)));
  if (parts.length === 1) return g;
  const whole = op.concat(parts, axis!);
  return typeof size === 'number' ? whole : expandLike(whole, x);
}

const scatterElements = (into: Value, indices: Value, updates: Value, axis: number): Value =>
  into.graph.apply('ScatterElements', [into, indices, updates], { axis, reduction: 'add' })[0]!;
const scatterND = (into: Value, indices: Value, updates: Value): Value =>
  into.graph.apply('ScatterND', [into, indices, updates], { reduction: 'add' })[0]!;

/** Adds the slices of g to zeros at their indices along the gathered axis. */
function scatterSlices(x: Value, indices: Value, g: Value, { attributes }: Node): Value {
  const axis = axisOf(int(attributes, 'axis', 0), x.shape.length);
  const deep = op.unsqueeze(indices, [indices.shape.length]);
  if (axis === 0) return scatterND(zerosLike(x), deep, g);
  // Bring the gathered axis to the front of x, and the index axes to the front of g.
  const front = [axis, ...x.shape.flatMap((_, i) => (i === axis ? [] : [i]))];
  const gathered = indices.shape.map((_, i) => axis + i);
  const others = g.shape.flatMap((_, i) => (gathered.includes(i) ? [] : [i]));
  const into = zerosLike(op.transpose(x, front));
  return op.transpose(
    scatterND(into, deep, op.transpose(g, [...gathered, ...others])),
    inverse(front),
  );
}

/** (meanSquare + ε)^−½ */
function inverseRoot(meanSquare: Value, epsilon: unknown): Value {
  assert(typeof epsilon === 'number', 'a norm needs its epsilon');
  return op.reciprocal(op.sqrt(add(meanSquare, epsilon)));
}

function once(make: () => Value): () => Value {
  let made: Value | undefined;
  return () => (made ??= make());
}
