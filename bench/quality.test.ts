import { expect, test } from 'vitest';
import { compare, perplexity } from './quality.ts';

const logs = (...rows: number[][]) => Float32Array.from(rows.flat(), Math.log);

test('the divergence, the likelihood and the agreement are those of their formulas', () => {
  const exact = logs([0.5, 0.25, 0.25], [0.1, 0.8, 0.1]);
  const other = logs([0.25, 0.5, 0.25], [0.1, 0.8, 0.1]);
  const found = compare(exact, other, [0, 1]);
  expect(found.kl[0]).toBeCloseTo(0.5 * Math.log(2) + 0.25 * Math.log(0.5), 6);
  expect(found.kl[1]).toBeCloseTo(0, 6);
  expect(found.nll).toHaveLength(1);
  expect(found.nll[0]).toBeCloseTo(-Math.log(0.5), 6);
  expect(found.agreement).toEqual([0, 1]);
});

test('places where an engine cannot say are left out', () => {
  const exact = logs([0.5, 0.5], [0.9, 0.1]);
  const found = compare(exact, Float32Array.of(NaN, NaN, Math.log(0.9), Math.log(0.1)), [0, 1]);
  expect(found.kl).toHaveLength(1);
  expect(found.kl[0]).toBeCloseTo(0, 6);
  expect(found.nll).toEqual([]);
});

test('tokens that an engine does not name count as one, and the divergence is a lower bound', () => {
  const exact = logs([0.5, 0.3, 0.2]);
  const other = [0.25, 0.25, 0.5];
  const named = Float32Array.of(Math.log(0.25), NaN, NaN);
  const found = compare(exact, named, [0]);
  expect(found.partial).toBe(true);
  const bound = 0.5 * Math.log(0.5 / 0.25) + 0.5 * Math.log(0.5 / 0.75);
  expect(found.kl[0]).toBeCloseTo(bound, 6);
  expect(bound).toBeLessThan(compare(exact, logs(other), [0]).kl[0]!);
  expect(compare(exact, logs(other), [0]).partial).toBe(false);
});

test('a uniform guess among eight has a perplexity of eight', () => {
  expect(perplexity([Math.log(8), Math.log(8)])).toBeCloseTo(8, 9);
});
