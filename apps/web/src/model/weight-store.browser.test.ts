import { expect, test } from 'vitest';

test('a file arrives in pieces, across reloads, and takes its name only when it is whole', async () => {
  const url = new URL('./weight-store-test.worker.ts', import.meta.url);
  const worker = new Worker(url, { type: 'module' });
  const result = await new Promise((resolve) => {
    worker.addEventListener('message', ({ data }: MessageEvent) => resolve(data));
  });
  worker.terminate();
  const arrived = { resumedAt: 3, unfinished: true, kept: [1, 2, 9] };
  expect(result).toEqual({ ...arrived, dropped: true, arrived: true });
});
