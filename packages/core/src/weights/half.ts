// fp16 numbers to fp32.

/** The fp32 value of every fp16 bit pattern: a quarter megabyte that saves all arithmetic. */
export const FP16 = new Float32Array(1 << 16);
for (let bits = 0; bits < FP16.length; bits++) FP16[bits] = expand(bits);

// IEEE 754 binary16: value = (-1)^s · 2^(e-15) · (1 + f/1024); subnormal when e = 0.
function expand(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
}
