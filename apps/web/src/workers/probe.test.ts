import { expect, test } from 'vitest';
import { verdictOf } from './probe.ts';

test('the engine with the shortest round is chosen', () => {
  const ms = { simd: 2.5, wasm: 2.4, webgpu: 9 };
  expect(verdictOf(ms)).toEqual({ engine: 'wasm', ms });
});

test('an engine that was not ready in time is not chosen', () => {
  expect(verdictOf({ wasm: 3 }).engine).toBe('wasm');
});

test('where nothing could be measured, the engine that needs least memory is chosen', () => {
  expect(verdictOf({}).engine).toBe('simd');
});
