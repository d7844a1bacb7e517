// A tensor as plain data: element type, shape, and a typed array in row-major order.
// It knows nothing of graphs, devices or ONNX Runtime.
import { assert } from '../error.ts';

/** Element types our graphs use. float16 travels as its bits in a Uint16Array. */
export type DType = 'float32' | 'float16' | 'int64' | 'int32' | 'uint8' | 'int8' | 'bool';

/** The array that holds elements of each type. */
export interface DataOf {
  float32: Float32Array;
  float16: Uint16Array;
  int64: BigInt64Array;
  int32: Int32Array;
  uint8: Uint8Array;
  int8: Int8Array;
  bool: Uint8Array;
}
export type TensorData = DataOf[DType];

/** A tensor of type `D`: `data.length` is the product of `shape`. */
export interface Tensor<D extends DType = DType> {
  readonly dtype: D;
  readonly shape: readonly number[];
  readonly data: DataOf[D];
}

/** Numbers for what may be stored in half of the bytes. */
export type Floats = Tensor<'float32'> | Tensor<'float16'>;

/** Number of elements of a shape; 1 for a scalar. */
export const sizeOf = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);

/** A float32 tensor; a plain list of numbers is copied. */
export function float32(
  shape: readonly number[],
  data: Float32Array | readonly number[],
): Tensor<'float32'> {
  return make('float32', shape, data instanceof Float32Array ? data : Float32Array.from(data));
}

/** An int64 tensor from numbers or bigints. */
export function int64(
  shape: readonly number[],
  data: BigInt64Array | ArrayLike<number>,
): Tensor<'int64'> {
  return make('int64', shape, data instanceof BigInt64Array ? data : toBigInts(data));
}

/** Zeros for `count` numbers. */
export const noughts = (dtype: Floats['dtype'], count: number): Floats['data'] =>
  dtype === 'float16' ? new Uint16Array(count) : new Float32Array(count);

/** A float32 tensor of zeros. */
export const zeros = (shape: readonly number[]): Tensor<'float32'> =>
  float32(shape, new Float32Array(sizeOf(shape)));

/**
 * Gives the memory of numbers that nobody reads any more back at once: until the next collection of garbage they would be
 * as much memory again. They must own their buffer, or lie in shared memory, which is left alone; engines before 2024 leave it
 * to that collection.
 */
export function giveUp({ buffer }: TensorData): void {
  (buffer as Transferable).transfer?.(0);
}

/** ES2024; missing in Node 20 and in browsers before 2024. */
interface Transferable {
  readonly transfer?: (byteLength: number) => ArrayBuffer;
}

function make<D extends DType>(dtype: D, shape: readonly number[], data: DataOf[D]): Tensor<D> {
  assert(data.length === sizeOf(shape), `${data.length} elements for shape [${shape.join(', ')}]`);
  return { dtype, shape, data };
}

function toBigInts(values: ArrayLike<number>): BigInt64Array {
  const out = new BigInt64Array(values.length);
  for (let i = 0; i < values.length; i++) out[i] = BigInt(values[i]!);
  return out;
}
