import { expect, test } from 'vitest';
import { gateLimitsOf, gateOf } from './gate.ts';

const good = {
  kl: 0.1,
  nllChange: 2.6,
  low: 0.69,
  endedFraction: 0.62,
  replyLength: 99,
  baseReplyLength: 93,
  goldenErrors: 2,
  baseGoldenErrors: 2,
  canariesBroken: 0,
  canariesWrong: 1,
};
const failing = (evaluation: Record<string, unknown>, gate: unknown = {}) =>
  gateOf(evaluation, gateLimitsOf(gate))
    .checks.filter(({ passed }) => !passed)
    .map(({ name }) => name);

test('a release that won, kept its language and still ends passes', () => {
  expect(gateOf(good, gateLimitsOf({})).passed).toBe(true);
});

test.each([
  [{ kl: 0.51 }, 'KL'],
  [{ nllChange: 10.1 }, 'held-out NLL, change in %'],
  [{ low: 0.49 }, 'own arena, lower bound'],
  [{ endedFraction: 0.29 }, 'replies that end'],
  [{ replyLength: 187 }, 'length drift'],
  [{ replyLength: 46 }, 'length drift'],
  [{ goldenErrors: 3 }, 'golden pairs, more errors'],
  [{ canariesBroken: 1 }, 'canaries broken'],
  [{ canariesWrong: 4 }, 'canaries wrong'],
])('%j does not pass: %s', (change, name) => {
  expect(failing({ ...good, ...change })).toEqual([name]);
});

test('what was not measured, or is no number, does not pass', () => {
  expect(failing({})).toHaveLength(8);
  expect(failing({ ...good, kl: NaN })).toEqual(['KL']);
});

test('a config moves the limits', () => {
  expect(failing(good, { nllChange: 1, lengthRatio: 1.05 })).toEqual([
    'held-out NLL, change in %',
    'length drift',
  ]);
});

test('a limit that does not exist, or is out of its range, is named', () => {
  const refusal = (config: unknown) => {
    try {
      return gateLimitsOf(config);
    } catch (error) {
      return error;
    }
  };
  const named = (what: string) =>
    expect.objectContaining({ code: 'train/bad-config', message: expect.stringContaining(what) });
  expect(refusal({ nllchange: 1 })).toEqual(named('"gate" of the config is wrong at nllchange'));
  expect(refusal({ winRateLow: 55 })).toEqual(named('winRateLow'));
  expect(refusal({ lengthRatio: 0.5 })).toEqual(named('lengthRatio'));
  expect(refusal('strict')).toEqual(named('its top'));
});
