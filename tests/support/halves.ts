// fp16 by its definition, slowly: what kernels that convert it are compared with.
import { float32 } from '@rapport/core';
import type { Tensor } from '@rapport/core';
import { FP16 } from '../../packages/core/src/weights/half.ts';

const MOST = 65504;
const LEAST = 2 ** -14;

/** The nearest fp16 number, the even one of two; what is too large becomes the largest, what is below 2^-14 becomes 0. */
export function nearestHalf(x: number): number {
  const size = Math.min(Math.abs(x), MOST);
  if (size < LEAST) return x < 0 || Object.is(x, -0) ? -0 : 0;
  const step = 2 ** (Math.floor(Math.log2(size)) - 10);
  const steps = size / step;
  const below = Math.floor(steps);
  const up = steps - below > 0.5 || (steps - below === 0.5 && below % 2 === 1);
  return Math.sign(x) * (below + Number(up)) * step;
}

/** Bits of a number that is one of `nearestHalf`. */
function bitsOf(x: number): number {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const size = Math.abs(x);
  if (size === 0) return sign;
  const exponent = Math.floor(Math.log2(size));
  return sign | ((exponent + 15) << 10) | (size / 2 ** (exponent - 10) - 1024);
}

export function toHalf({ shape, data }: Tensor<'float32'>): Tensor<'float16'> {
  return { dtype: 'float16', shape, data: Uint16Array.from(data, (x) => bitsOf(nearestHalf(x))) };
}

export const fromHalf = ({ shape, data }: Tensor<'float16'>): Tensor<'float32'> =>
  float32(
    shape,
    Float32Array.from(data, (bits) => FP16[bits]!),
  );
