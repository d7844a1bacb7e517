import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { fastest } from './probe.ts';
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

const simd: Trial = { engine: 'simd', fastestMs: 3, medianMs: 3 };

test('a trial that never says anything ends with the engine that needs least', async () => {
  const silent = new Scripted();
  const verdict = fastest(() => silent);
  await vi.advanceTimersByTimeAsync(2000);
  expect(await verdict).toEqual({ engine: 'simd', ms: {}, calm: false });
  expect(silent.terminate).toHaveBeenCalledOnce();
});

test('after the first engine, one that is slow to begin is not waited for', async () => {
  const worker = new Scripted();
  const verdict = fastest(() => worker);
  worker.say(simd);
  await vi.advanceTimersByTimeAsync(500);
  expect(await verdict).toEqual({ engine: 'simd', ms: { simd: 3 }, calm: true });
});

test('a trial that is done is over at once', async () => {
  const worker = new Scripted();
  const verdict = fastest(() => worker);
  worker.say(simd);
  worker.say({ engine: 'wasm', fastestMs: 2, medianMs: 2 });
  worker.say('done');
  expect((await verdict).engine).toBe('wasm');
});
