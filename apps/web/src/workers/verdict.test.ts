import { describe, expect, test } from 'vitest';
import { lasting, verdictOf } from './verdict.ts';

const DAY_MS = 24 * 3_600_000;

describe('a trial', () => {
  test('chooses the engine with the shortest round', () => {
    const trials = [
      { engine: 'simd', fastestMs: 2.5, medianMs: 2.6 },
      { engine: 'wasm', fastestMs: 2.4, medianMs: 2.9 },
      { engine: 'webgpu', fastestMs: 9, medianMs: 9 },
    ] as const;
    const ms = { simd: 2.5, wasm: 2.4, webgpu: 9 };
    expect(verdictOf(trials)).toEqual({ engine: 'wasm', ms, calm: true });
  });

  test('does not choose an engine that was not ready in time', () => {
    expect(verdictOf([{ engine: 'wasm', fastestMs: 3, medianMs: 3 }]).engine).toBe('wasm');
  });

  test('chooses the engine that needs least memory where nothing could be measured', () => {
    expect(verdictOf([])).toEqual({ engine: 'simd', ms: {}, calm: false });
  });

  test('is not calm when the rounds of one engine differ much', () => {
    const wasm = { engine: 'wasm', fastestMs: 3, medianMs: 3 } as const;
    expect(verdictOf([wasm, { engine: 'simd', fastestMs: 2, medianMs: 3.1 }]).calm).toBe(false);
  });
});

describe('a kept verdict', () => {
  const verdict = { engine: 'simd', ms: { simd: 2 }, calm: true } as const;

  test('holds for a month', () => {
    expect(lasting({ ...verdict, atMs: 5 }, 5 + 29 * DAY_MS)).toEqual(verdict);
    expect(lasting({ ...verdict, atMs: 5 }, 5 + 31 * DAY_MS)).toBeUndefined();
  });

  test('of a busy moment, or of a version that did not say, does not hold', () => {
    expect(lasting({ ...verdict, calm: false, atMs: 5 }, 6)).toBeUndefined();
    expect(lasting({ engine: 'simd', ms: {} } as never, 6)).toBeUndefined();
    expect(lasting(undefined, 6)).toBeUndefined();
  });
});
