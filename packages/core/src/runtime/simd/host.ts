// Operators computed in JavaScript: whatever touches token ids, positions, masks and shapes, where
// the work is small and the types are many. The slow obvious loop for each.
import { assert } from '../../error.ts';
import { ONNX_TYPE, axisOf, int, ints } from '../../graph/index.ts';
import type { Attributes, DType, Node, Tensor, TensorData } from '../../graph/index.ts';
import { sizeOf } from '../../graph/index.ts';

type Numbers = Record<number, number | bigint>;

const ARRAYS = {
  float32: Float32Array,
  float16: Uint16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  uint8: Uint8Array,
  int8: Int8Array,
  bool: Uint8Array,
} as const;

const empty = (dtype: DType, length: number): TensorData => new ARRAYS[dtype](length);

const tensor = (dtype: DType, shape: readonly number[], data: TensorData): Tensor =>
  ({ dtype, shape, data }) as Tensor;

/** Strides in elements of a row-major tensor. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = shape.map(() => 1);
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = strides[i + 1]! * shape[i + 1]!;
  return strides;
}

/** Strides with which a tensor of `shape` is read as `target`: 0 along broadcast axes. */
export function broadcastStrides(shape: readonly number[], target: readonly number[]): number[] {
  const strides = stridesOf(shape);
  const missing = target.length - shape.length;
  return target.map((_, i) =>
    i < missing || shape[i - missing] === 1 ? 0 : strides[i - missing]!,
  );
}

export function broadcastShape(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[i - rank + a.length] ?? 1;
    const y = b[i - rank + b.length] ?? 1;
    assert(x === y || x === 1 || y === 1, `cannot broadcast [${a.join()}] with [${b.join()}]`);
    return x === 1 ? y : x;
  });
}

/** Calls `visit` with the offset of each element of `shape` under `strides`, in row-major order. */
function walk(shape: readonly number[], strides: readonly number[], visit: (at: number) => void) {
  const at = (axis: number, offset: number): void => {
    if (axis === shape.length) return visit(offset);
    for (let i = 0; i < shape[axis]!; i++) at(axis + 1, offset + i * strides[axis]!);
  };
  at(0, 0);
}

function gathered(x: Tensor, shape: readonly number[], strides: readonly number[], start = 0) {
  const out = empty(x.dtype, sizeOf(shape)) as Numbers;
  const data = x.data as Numbers;
  let i = 0;
  walk(shape, strides, (at) => (out[i++] = data[start + at]!));
  return tensor(x.dtype, shape, out as unknown as TensorData);
}

function elementwise(
  dtype: DType,
  inputs: readonly Tensor[],
  f: (...x: never[]) => unknown,
): Tensor {
  const shape = inputs.map((x) => [...x.shape]).reduce(broadcastShape);
  const spread = inputs.map((x) =>
    x.shape.length === shape.length && x.shape.every((d, i) => d === shape[i])
      ? x
      : gathered(x, shape, broadcastStrides(x.shape, shape)),
  );
  const out = empty(dtype, sizeOf(shape));
  const [a, b, c] = spread.map((x) => x.data) as [TensorData, TensorData?, TensorData?];
  for (let i = 0; i < out.length; i++) {
    (out as Numbers)[i] = f(a[i] as never, b?.[i] as never, c?.[i] as never) as number;
  }
  return tensor(dtype, shape, out);
}

type Rule = (inputs: readonly Tensor[], attributes: Attributes) => readonly Tensor[];

/** The type is that of the first input. */
const same =
  (f: (...x: never[]) => unknown): Rule =>
  (x) => [elementwise(x[0]!.dtype, x, f)];
const truth =
  (f: (...x: never[]) => boolean): Rule =>
  (x) => [elementwise('bool', x, (...v: never[]) => Number(f(...v)))];

const list = (x: Tensor | undefined): number[] => Array.from((x?.data ?? []) as never, Number);

const RULES: Partial<Record<Node['op'], Rule>> = {
  Add: same((a: number, b: number) => a + b),
  Sub: same((a: number, b: number) => a - b),
  Mul: same((a: number, b: number) => a * b),
  Div: same((a: number, b: number) => a / b),
  Min: same((a: number, b: number) => (a < b ? a : b)),
  Max: same((a: number, b: number) => (a > b ? a : b)),
  Pow: same((a: number, b: number) => a ** b),
  Neg: same((a: number) => -a),
  Exp: same(Math.exp as never),
  Sqrt: same(Math.sqrt as never),
  Reciprocal: same((a: number) => 1 / a),
  Sin: same(Math.sin as never),
  Cos: same(Math.cos as never),
  Tanh: same(Math.tanh as never),
  Equal: truth((a: number, b: number) => a === b),
  Greater: truth((a: number, b: number) => a > b),
  GreaterOrEqual: truth((a: number, b: number) => a >= b),
  Less: truth((a: number, b: number) => a < b),
  LessOrEqual: truth((a: number, b: number) => a <= b),
  And: truth((a: number, b: number) => a !== 0 && b !== 0),
  Or: truth((a: number, b: number) => a !== 0 || b !== 0),
  Not: truth((a: number) => a === 0),
  Where: (x) => [
    elementwise(x[1]!.dtype, x, (c: number, a: number, b: number) => (c !== 0 ? a : b)),
  ],
  Cast([x], attributes) {
    const to = Object.entries(ONNX_TYPE).find(([, code]) => code === int(attributes, 'to'))![0];
    const convert =
      to === 'int64'
        ? (v: number) => BigInt(Math.trunc(v))
        : to === 'bool'
          ? (v: number) => Number(Number(v) !== 0)
          : Number;
    return [elementwise(to as DType, [x!], convert as never)];
  },
  Shape([x], attributes) {
    const part = x!.shape.slice(
      int(attributes, 'start', 0),
      int(attributes, 'end', x!.shape.length),
    );
    return [tensor('int64', [part.length], BigInt64Array.from(part, BigInt))];
  },
  Transpose([x], attributes) {
    const perm = ints(attributes, 'perm');
    const strides = stridesOf(x!.shape);
    return [
      gathered(
        x!,
        perm.map((p) => x!.shape[p]!),
        perm.map((p) => strides[p]!),
      ),
    ];
  },
  Expand: ([x, to]) => {
    const shape = broadcastShape(x!.shape, list(to));
    return [gathered(x!, shape, broadcastStrides(x!.shape, shape))];
  },
  Slice([x], attributes) {
    const shape = [...x!.shape];
    const strides = stridesOf(x!.shape);
    const ends = ints(attributes, 'ends');
    let start = 0;
    ints(attributes, 'axes').forEach((axis, i) => {
      const [from, to] = sliceBounds(shape[axis]!, ints(attributes, 'starts')[i]!, ends[i]!);
      start += from * strides[axis]!;
      shape[axis] = to - from;
    });
    return [gathered(x!, shape, strides, start)];
  },
  Split([x, sizes], attributes) {
    const axis = axisOf(int(attributes, 'axis'), x!.shape.length);
    const strides = stridesOf(x!.shape);
    let start = 0;
    return list(sizes).map((size) => {
      const part = gathered(x!, x!.shape.with(axis, size), strides, start);
      start += size * strides[axis]!;
      return part;
    });
  },
  Concat(x, attributes) {
    const axis = axisOf(int(attributes, 'axis'), x[0]!.shape.length);
    const total = x.reduce((n, t) => n + t.shape[axis]!, 0);
    const shape = x[0]!.shape.with(axis, total);
    const out = empty(x[0]!.dtype, sizeOf(shape));
    const outer = sizeOf(shape.slice(0, axis));
    let at = 0;
    for (let o = 0; o < outer; o++) {
      for (const t of x) {
        const n = sizeOf(t.shape.slice(axis));
        out.set(t.data.subarray(o * n, (o + 1) * n) as never, at);
        at += n;
      }
    }
    return [tensor(x[0]!.dtype, shape, out)];
  },
  Gather([x, indices], attributes) {
    const axis = axisOf(int(attributes, 'axis', 0), x!.shape.length);
    const outer = sizeOf(x!.shape.slice(0, axis));
    const inner = sizeOf(x!.shape.slice(axis + 1));
    const size = x!.shape[axis]!;
    const shape = [...x!.shape.slice(0, axis), ...indices!.shape, ...x!.shape.slice(axis + 1)];
    const out = empty(x!.dtype, sizeOf(shape));
    let at = 0;
    for (let o = 0; o < outer; o++) {
      for (const index of list(indices)) {
        const row = (o * size + (index < 0 ? index + size : index)) * inner;
        out.set(x!.data.subarray(row, row + inner) as never, at);
        at += inner;
      }
    }
    return [tensor(x!.dtype, shape, out)];
  },
  GatherND([x, indices], attributes) {
    const batch = int(attributes, 'batch_dims', 0);
    const depth = indices!.shape.at(-1)!;
    const strides = stridesOf(x!.shape);
    const perBatch = sizeOf(indices!.shape.slice(batch));
    const shape = [...indices!.shape.slice(0, -1), ...x!.shape.slice(batch + depth)];
    const inner = sizeOf(x!.shape.slice(batch + depth));
    const out = empty(x!.dtype, sizeOf(shape));
    const places = list(indices);
    for (let i = 0, at = 0; i < places.length; i += depth, at += inner) {
      let from = Math.floor(i / perBatch) * sizeOf(x!.shape.slice(batch));
      for (let d = 0; d < depth; d++) {
        const size = x!.shape[batch + d]!;
        const index = places[i + d]!;
        from += (index < 0 ? index + size : index) * strides[batch + d]!;
      }
      out.set(x!.data.subarray(from, from + inner) as never, at);
    }
    return [tensor(x!.dtype, shape, out)];
  },
};

export function sliceBounds(size: number, start: number, end: number): [number, number] {
  const clamp = (i: number) => Math.max(0, Math.min(size, i < 0 ? i + size : i));
  return [clamp(start), Math.max(clamp(start), clamp(end))];
}

/** Whether `hostOp` knows the operator. */
export const isHostOp = (op: Node['op']): boolean => op in RULES;

/** What a node yields for these inputs. */
export function hostOp(node: Node, inputs: readonly Tensor[]): readonly Tensor[] {
  const rule = RULES[node.op];
  assert(rule, `${node.op} has no rule in JavaScript`);
  return rule(inputs, node.attributes);
}
