import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { fastest, LIMIT_MS } from './probe.ts';
import type { Trial } from './verdict.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A worker that says what it is told to. */
class Scripted {
  onerror: Worker['onerror'] = null;
  onmessage: Worker['onmessage'] = null;
  terminate = vi.fn();

  say(data: Trial | 'done'): void {
    this.onmessage!.call(this as unknown as Worker, { data } as MessageEvent);
  }
}

const trialOf = (engine: Trial['engine'], fastestMs: number): Trial => {
  return { engine, fastestMs, medianMs: fastestMs, wrong: false };
};

test('a trial takes half a second at most', () => {
  expect(LIMIT_MS).toBeLessThanOrEqual(500);
});

test('one that never says anything is cut off with the engine that needs least', async () => {
  const silent = new Scripted();
  const verdict = fastest(() => silent);
  await vi.advanceTimersByTimeAsync(LIMIT_MS);
  const expected = { engine: 'simd', ms: {}, wrong: [], calm: false, whole: false };
  expect(await verdict).toEqual({ ...expected, tookMs: LIMIT_MS });
  expect(silent.terminate).toHaveBeenCalledOnce();
});

test('one that is slow is cut off with what it has found by then', async () => {
  const worker = new Scripted();
  const verdict = fastest(() => worker);
  await vi.advanceTimersByTimeAsync(LIMIT_MS - 1);
  worker.say(trialOf('simd', 3));
  await vi.advanceTimersByTimeAsync(1);
  const found = { engine: 'simd', ms: { simd: 3 }, whole: false, tookMs: LIMIT_MS };
  expect(await verdict).toMatchObject(found);
  expect(worker.terminate).toHaveBeenCalledOnce();
});

test('one that is done is over at once', async () => {
  const worker = new Scripted();
  const verdict = fastest(() => worker);
  await vi.advanceTimersByTimeAsync(120);
  worker.say(trialOf('simd', 3));
  worker.say(trialOf('wasm', 2));
  worker.say('done');
  expect(await verdict).toMatchObject({ engine: 'wasm', whole: true, tookMs: 120 });
});
