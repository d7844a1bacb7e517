// e to the power of many numbers by a table: Math.exp is nearly exact and half of what sampling a token takes.
// P. T. P. Tang, "Table-driven implementation of the exponential function in IEEE floating-point arithmetic", ACM TOMS 15 (1989).

const PARTS_BITS = 8;
const PARTS = 1 << PARTS_BITS;
/** 2^(i/PARTS). */
const FRACTIONS = Float64Array.from({ length: PARTS }, (_, i) => 2 ** (i / PARTS));
/** 2^(i − LEAST), and 0 where nothing is left of a share. */
const LEAST = 1000;
const WHOLES = Float64Array.from({ length: LEAST + 1 }, (_, i) => (i === 0 ? 0 : 2 ** (i - LEAST)));
const PARTS_PER_UNIT = PARTS / Math.LN2;
const UNITS_PER_PART = Math.LN2 / PARTS;

/**
 * Writes exp((scores[i] − best) · scale) to `out` and gives the sum. `best` is the largest score; relative errors are below 1e-11,
 * and what is less than 2^−999 is 0. What is no number stays none.
 */
export function exponentials(
  scores: Float32Array,
  { best, scale }: { best: number; scale: number },
  out: Float64Array,
): number {
  const faintest = -LEAST * Math.LN2;
  let sum = 0;
  for (let i = 0; i < out.length; i++) {
    const x = Math.max((scores[i]! - best) * scale, faintest);
    // x = part · ln 2 / PARTS + rest, the rest within one part.
    const part = (x * PARTS_PER_UNIT) | 0;
    const rest = x - part * UNITS_PER_PART;
    const power = FRACTIONS[part & (PARTS - 1)]! * WHOLES[LEAST + (part >> PARTS_BITS)]!;
    sum += out[i] = power * (1 + rest * (1 + rest * (1 / 2 + rest * (1 / 6))));
  }
  return sum;
}
