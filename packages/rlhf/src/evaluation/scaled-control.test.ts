import { expect, it } from 'vitest';
import { scaleForKl } from './scaled-control.ts';

it.each([
  [2, 0.1],
  [1.5, 0.03],
  [3, 0.5],
])('finds the scale of a KL that grows like its power %d, down to %d', async (power, target) => {
  const measured: number[] = [];
  const { scale, kl } = await scaleForKl(target, 0.3, (s) => {
    measured.push(s);
    return Promise.resolve(0.3 * s ** power);
  });
  expect(Math.abs(Math.log(kl / target))).toBeLessThan(Math.log(1.1));
  expect(scale).toBeCloseTo((kl / 0.3) ** (1 / power), 9);
  expect(measured.length).toBeLessThanOrEqual(2);
});

it('measures nothing where the whole adapter is as far already', async () => {
  const never = () => Promise.reject(new Error('measured'));
  expect(await scaleForKl(0.3, 0.29, never)).toEqual({ scale: 1, kl: 0.29 });
});

it('takes a KL below nothing, which an estimate can be, as very small', async () => {
  const { scale } = await scaleForKl(-0.01, 0.3, (s) => Promise.resolve(0.3 * s ** 2));
  expect(scale).toBeGreaterThan(0);
  expect(scale).toBeLessThan(0.05);
});
