import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startRapport } from '../support/rapport.ts';

let dataFolder: string;

beforeAll(async () => {
  dataFolder = await mkdtemp(join(tmpdir(), 'rapport-front-door-'));
  // The first start may have to build the client.
  await (await startRapport({ dataFolder })).stop();
});

afterAll(() => rm(dataFolder, { recursive: true, force: true }));

test('a second start is ready in under 5 seconds, and SIGTERM ends it with 0 in under 10', async () => {
  const startMs = Date.now();
  const rapport = await startRapport({ dataFolder });
  expect(Date.now() - startMs).toBeLessThan(5_000);

  const stopMs = Date.now();
  expect(await rapport.stop()).toBe(0);
  expect(Date.now() - stopMs).toBeLessThan(10_000);
});

test('the page it serves is isolated, strict, and loads its own files only', async () => {
  const rapport = await startRapport({ dataFolder });
  try {
    const page = await fetch(rapport.url);
    expect(page.status).toBe(200);
    expect(page.headers.get('cross-origin-opener-policy')).toBe('same-origin');
    expect(page.headers.get('cross-origin-embedder-policy')).toBe('require-corp');
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
    for (const probe of ['/livez', '/readyz'])
      expect((await fetch(`${rapport.url}${probe}`)).status).toBe(200);
  } finally {
    await rapport.stop();
  }
});

test('ready stands alone on its line', async () => {
  const rapport = await startRapport({ dataFolder });
  expect(rapport.output().split('\n')).toContain(`ready ${rapport.url}`);
  expect(await rapport.stop()).toBe(0);
});
