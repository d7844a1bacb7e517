import { expect, it } from 'vitest';
import { scaleWithin } from './scale-within.ts';

it.each([
  [1, 0.06],
  [2, 0.06],
  [1.4, 0.5],
  [3, 0.031],
])(
  'finds the scale whose cost, growing like its power %d from %d, is just allowed',
  async (power, whole) => {
    const measured: number[] = [];
    const { scale, cost } = await scaleWithin(0.03, (s) => {
      measured.push(s);
      return Promise.resolve(whole * s ** power);
    });
    expect(cost).toBeLessThanOrEqual(0.03);
    expect(cost).toBeGreaterThan(0.85 * 0.03);
    expect(cost).toBeCloseTo(whole * scale ** power, 12);
    expect(measured.length).toBeLessThanOrEqual(4);
  },
);

it('measures nothing else where the whole adapter is allowed', async () => {
  const whole = (s: number) => (s === 1 ? Promise.resolve(0.02) : Promise.reject(new Error('s')));
  expect(await scaleWithin(0.03, whole)).toEqual({ scale: 1, cost: 0.02 });
});

it('returns what was measured to be allowed, whatever shape the cost has', async () => {
  // Nothing up to 0.4, then a step; and a cost that never falls.
  const step = (s: number) => Promise.resolve(s <= 0.4 ? -0.01 : 0.2);
  const { scale, cost } = await scaleWithin(0.03, step);
  expect([scale > 0 && scale <= 0.4, cost]).toEqual([true, -0.01]);
  expect(await scaleWithin(0.03, () => Promise.resolve(0.2))).toEqual({ scale: 0, cost: 0 });
});
