import { expect, test } from 'vitest';
import { Pace, TokenMeter } from './pace.ts';

test('the pace is that of the last few seconds', () => {
  const pace = new Pace();
  expect(pace.see(0, 0)).toBe(0);
  expect(pace.see(1000, 1000)).toBe(1000);
  for (let s = 2; s <= 20; s++) pace.see(1000 + (s - 1) * 50, s * 1000);
  expect(pace.see(2000, 21_000)).toBeCloseTo(50, 0);
});

test('a reply is as fast as its tokens since the first', () => {
  const meter = new TokenMeter();
  expect(meter.see(1000)).toBe(0);
  expect(meter.see(1050)).toBe(20);
  expect(meter.see(1100)).toBe(20);
});
