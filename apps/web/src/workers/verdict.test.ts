import { describe, expect, test } from 'vitest';
import type { Engine, Verdict } from './inference.ts';
import { lasting, verdictOf, type Trial } from './verdict.ts';

const DAY_MS = 24 * 3_600_000;

const trialOf = (engine: Engine, fastestMs: number, medianMs = fastestMs): Trial => {
  return { engine, fastestMs, medianMs, wrong: false };
};
const wrong = (engine: Engine): Trial => ({ ...trialOf(engine, 1), wrong: true });

describe('a trial', () => {
  test('chooses the engine with the shortest round', () => {
    const trials = [trialOf('simd', 2.5, 2.6), trialOf('wasm', 1.9, 2.3), trialOf('webgpu', 9)];
    const ms = { simd: 2.5, wasm: 1.9, webgpu: 9 };
    expect(verdictOf(trials)).toEqual({ engine: 'wasm', ms, wrong: [], calm: true });
    expect(verdictOf([trialOf('wasm', 3), trialOf('webgpu', 2.9)]).engine).toBe('webgpu');
  });

  test('chooses our own kernels where others are hardly faster: they need less memory', () => {
    expect(verdictOf([trialOf('simd', 2.5), trialOf('wasm', 2.1)]).engine).toBe('simd');
    expect(verdictOf([trialOf('webgpu', 1.9), trialOf('simd', 2.5)]).engine).toBe('webgpu');
  });

  test('does not choose an engine that was not ready in time', () => {
    expect(verdictOf([trialOf('wasm', 3)]).engine).toBe('wasm');
  });

  test('does not choose an engine that computes wrong, however fast', () => {
    const found = verdictOf([wrong('simd'), trialOf('wasm', 3), wrong('webgpu')]);
    expect(found).toEqual({
      ...{ engine: 'wasm', ms: { wasm: 3 } },
      ...{ wrong: ['simd', 'webgpu'], calm: true },
    });
    expect(verdictOf([wrong('simd')]).engine).toBe('wasm');
    expect(verdictOf([wrong('webgpu')]).engine).toBe('simd');
  });

  test('chooses the engine that needs least memory where nothing could be measured', () => {
    expect(verdictOf([])).toEqual({ engine: 'simd', ms: {}, wrong: [], calm: false });
  });

  test('is not calm when the rounds of one engine differ much', () => {
    expect(verdictOf([trialOf('wasm', 3), trialOf('simd', 2, 3.1)]).calm).toBe(false);
  });
});

describe('a kept verdict', () => {
  const verdict: Verdict = {
    ...{ engine: 'simd', ms: { simd: 2 }, wrong: ['webgpu'] },
    ...{ calm: true, whole: true, tookMs: 400 },
  };

  const kept = { ...verdict, build: 'this', atMs: 5 };

  test('holds for a month', () => {
    expect(lasting(kept, 'this', 5 + 29 * DAY_MS)).toEqual(verdict);
    expect(lasting(kept, 'this', 5 + 31 * DAY_MS)).toBeUndefined();
  });

  test('that was cut off holds for a day', () => {
    const cutOff = { ...kept, whole: false };
    expect(lasting(cutOff, 'this', 5 + 0.9 * DAY_MS)).toEqual({ ...verdict, whole: false });
    expect(lasting(cutOff, 'this', 5 + 1.1 * DAY_MS)).toBeUndefined();
  });

  test('of a busy moment, or of another build, does not hold', () => {
    expect(lasting({ ...kept, calm: false }, 'this', 6)).toBeUndefined();
    expect(lasting(kept, 'the next', 6)).toBeUndefined();
    expect(lasting({ ...verdict, atMs: 5 } as never, 'this', 6)).toBeUndefined();
    expect(lasting(undefined, 'this', 6)).toBeUndefined();
  });
});
