import { expect, test } from 'vitest';
import { Random } from '../random.ts';
import { exponentials } from './exponentials.ts';

test.each([0.05, 1, 3, 10])('are those of Math.exp at scale %d', (scale) => {
  const random = new Random(1);
  // Near the best score, far from it, and all along the range of floating-point numbers.
  const scores = Float32Array.from({ length: 20_000 }, (_, i) => {
    const reach = [1e-6, 1, 30, 800][i % 4]!;
    return 7 - reach * random.uniform();
  });
  scores[5] = 7;
  const out = new Float64Array(scores.length);
  const sum = exponentials(scores, { best: 7, scale }, out);
  let total = 0;
  for (const [i, score] of scores.entries()) {
    const exact = Math.exp((score - 7) * scale);
    total += exact;
    if (exact > 2 ** -999) expect(Math.abs(out[i]! / exact - 1), `${score}`).toBeLessThan(1e-11);
    else expect(out[i], `${score}`).toBeLessThan(2 ** -998);
  }
  expect(Math.abs(sum / total - 1)).toBeLessThan(1e-11);
});

test('what cannot be is 0, what is no number stays none', () => {
  const out = new Float64Array(3);
  expect(exponentials(Float32Array.of(1, -Infinity, -3e38), { best: 1, scale: 2 }, out)).toBe(1);
  expect([...out]).toEqual([1, 0, 0]);
  expect(exponentials(Float32Array.of(1, NaN, 0), { best: 1, scale: 1 }, out)).toBeNaN();
});
