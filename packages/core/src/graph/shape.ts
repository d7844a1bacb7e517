// Shapes with named dimensions, and the rules that several operators share.
// A name stands for one size through the whole graph: two dimensions are equal when their names are.
import { assert } from '../error.ts';

/** A size known now, or the name of one known when the graph runs (`'B'`, `'T'`, `'P+T'`). */
export type Dim = number | string;
export type Shape = readonly Dim[];

export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((d, i) => d === b[i]);

export const describe = (shape: Shape): string => `[${shape.join(', ')}]`;

/** `axis` counted from the front. */
export function axisOf(axis: number, rank: number): number {
  const at = axis < 0 ? axis + rank : axis;
  assert(at >= 0 && at < rank, `axis ${axis} of a tensor of rank ${rank}`);
  return at;
}

/** NumPy broadcasting; a name matches itself or 1. */
export function broadcast(a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[i - rank + a.length] ?? 1;
    const y = b[i - rank + b.length] ?? 1;
    assert(x === y || x === 1 || y === 1, `cannot broadcast ${describe(a)} with ${describe(b)}`);
    return x === 1 ? y : x;
  });
}

/** The dimension that results from joining several along one axis. */
export function sumDims(dims: readonly Dim[]): Dim {
  const known = dims.filter((d): d is number => typeof d === 'number').reduce((a, b) => a + b, 0);
  const names = dims.filter((d): d is string => typeof d === 'string');
  if (names.length === 0) return known;
  return known === 0 ? names.join('+') : [...names, String(known)].join('+');
}

/** Shape of `a @ b`: leading axes broadcast, inner sizes must agree. */
export function matmulShape(a: Shape, b: Shape): Shape {
  assert(a.length >= 2 && b.length >= 2, `MatMul of ${describe(a)} and ${describe(b)}`);
  assert(a.at(-1) === b.at(-2), `MatMul inner sizes of ${describe(a)} and ${describe(b)} differ`);
  return [...broadcast(a.slice(0, -2), b.slice(0, -2)), a.at(-2)!, b.at(-1)!];
}

/** Shape after reducing `axes`, kept as size 1 or dropped. */
export function reducedShape(shape: Shape, axes: readonly number[], keepdims: boolean): Shape {
  const dropped = new Set(axes.map((a) => axisOf(a, shape.length)));
  return shape.flatMap((d, i) => (!dropped.has(i) ? [d] : keepdims ? [1] : []));
}
