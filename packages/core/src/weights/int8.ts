// Matrices as integers of 8 bits with a scale for each block of a row, symmetric about 0.

/** Numbers of a block, in rows that can be cut into such; else a row is one block. */
const BLOCK = 32;

/** How many blocks a row of so many numbers has. */
export const blocksIn = (width: number): number => (width % BLOCK === 0 ? width / BLOCK : 1);

/** [rows · blocks]: what the largest number of each block is 127 times of. */
export function blockScales(matrix: Float32Array, width: number): Float32Array {
  const block = width / blocksIn(width);
  return Float32Array.from({ length: matrix.length / block }, (_, i) => {
    const numbers = matrix.subarray(i * block, (i + 1) * block);
    return numbers.reduce((most, x) => Math.max(most, Math.abs(x)), 0) / 127;
  });
}

/** The matrix in units of its blocks' scales, rounded. */
export function toInt8(matrix: Float32Array, scales: Float32Array): Int8Array {
  const block = matrix.length / scales.length;
  return Int8Array.from(matrix, (x, i) => {
    const scale = scales[Math.floor(i / block)]!;
    return scale > 0 ? Math.round(x / scale) : 0;
  });
}
