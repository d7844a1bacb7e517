import { expect, test } from 'vitest';

test('a browser test runs in a cross-origin isolated page, so that WASM can have threads', () => {
  expect(crossOriginIsolated).toBe(true);
  expect(new SharedArrayBuffer(8).byteLength).toBe(8);
});
