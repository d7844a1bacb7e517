// The trial of the engines as a page makes it, in a real browser.
import { expect, test } from 'vitest';
import { fastest, LIMIT_MS } from './probe.ts';

/** Until the worker is ended and a busy processor has let the page know. */
const GRACE_MS = 250;

test('a trial ends within half a second, whatever is ready by then, and finds no engine wrong', async () => {
  for (let i = 0; i < 3; i++) {
    const { tookMs, whole, ms, wrong } = await fastest();
    expect(tookMs).toBeLessThan(LIMIT_MS + GRACE_MS);
    expect(wrong).toEqual([]);
    if (whole) expect(Object.keys(ms)).toEqual(expect.arrayContaining(['simd', 'wasm']));
  }
});
