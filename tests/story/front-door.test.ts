import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openContext } from '../../apps/server/context.ts';
import { startHost } from '../../apps/server/model-source/test-host.ts';
import { aRanking } from '../../apps/server/store/test-store.ts';
import { runCommand, spawnServer, startRapport } from '../support/rapport.ts';
import { tinyFolder } from '../support/tiny-folder.ts';

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

test('environment variables say what flags would', async () => {
  const [folder, model] = [await mkdtemp(join(tmpdir(), 'rapport-env-')), await tinyFolder()];
  const child = spawnServer([], {
    RAPPORT_PORT: '0',
    RAPPORT_HOST: '127.0.0.1',
    RAPPORT_DATA: folder,
    RAPPORT_MODEL: model,
  });
  const ended = endOf(child);
  const url = await said(child, /^ready (http:\/\/localhost:\d+)$/m);
  try {
    const about = (await (await fetch(`${url}/v1/model`)).json()) as { format: string };
    expect(about.format).toBe('safetensors');
    expect(await readdir(folder)).toContain('rapport.db');
  } finally {
    child.kill('SIGTERM');
    expect(await ended).toBe(0);
    for (const left of [folder, model]) await rm(left, { recursive: true, force: true });
  }
});

test('one Ctrl-C, which arrives twice, still lets the server answer what is under way', async () => {
  const [folder, model] = [await mkdtemp(join(tmpdir(), 'rapport-twice-')), await tinyFolder()];
  const child = spawnServer(['--port', '0', '--data', folder, '--model', model]);
  const ended = endOf(child);
  const url = await said(child, /^ready (http:\/\/localhost:\d+)$/m);
  const headers = { 'content-type': 'application/json', 'content-length': 2 };
  const asked = request(`${url}/v1/devices`, {
    method: 'POST',
    agent: false,
    headers: { ...headers, expect: '100-continue' },
  });
  const answered = once(asked, 'response') as Promise<[IncomingMessage]>;
  asked.flushHeaders();
  await once(asked, 'continue');
  for (let times = 0; times < 2; times++) {
    child.kill('SIGINT');
    await sleep(40);
  }
  asked.end('{}');
  const [response] = await answered;
  response.resume();
  expect([response.statusCode, await ended]).toEqual([201, 0]);
  for (const left of [folder, model]) await rm(left, { recursive: true, force: true });
});

test('SIGTERM in the middle of the download ends with 0, and the next start goes on from there', async () => {
  const cache = await mkdtemp(join(tmpdir(), 'rapport-cache-'));
  const host = await startHost();
  const weights = Buffer.alloc(1 << 20, 'GGUF');
  const siblings = [{ rfilename: 'tiny.gguf', size: weights.length }];
  host.serve('/api/models/someone/tiny/revision/main', JSON.stringify({ sha: 'abc', siblings }));
  const half = { silent: true, breakAfterBytes: weights.length / 2 };
  host.serve('/someone/tiny/resolve/abc/tiny.gguf', weights, half);
  const start = () =>
    spawnServer(['--port', '0', '--data', dataFolder, '--model', 'hf:someone/tiny'], {
      HF_ENDPOINT: host.url,
      RAPPORT_CACHE: cache,
    });
  try {
    for (const asked of [undefined, weights.length / 2]) {
      const before = host.ranges.length;
      const child = start();
      const ended = endOf(child);
      await expect.poll(() => host.ranges.slice(before), { timeout: 60_000 }).toHaveLength(2);
      expect(host.ranges.at(-1)).toBe(asked);
      // What arrived is written before the second half is waited for.
      await sleep(500);
      const stopMs = Date.now();
      child.kill('SIGTERM');
      expect(await ended).toBe(0);
      expect(Date.now() - stopMs).toBeLessThan(10_000);
    }
  } finally {
    await host.close();
    await rm(cache, { recursive: true, force: true });
  }
});

test.runIf(existsSync('/proc'))(
  'SIGTERM while it trains ends with 0 in under 10 seconds, and no process is left',
  async () => {
    const [folder, model] = [await mkdtemp(join(tmpdir(), 'rapport-term-')), await tinyFolder()];
    const rapport = await startRapport({ dataFolder: folder, model });
    await runCommand(rapport, 'schedule', 'set', '--votes', '2', '--publish', 'no');
    const post = async (path: string, body: unknown, token = '') =>
      (
        await fetch(`${rapport.url}${path}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
          body: JSON.stringify(body),
        })
      ).json() as Promise<Record<string, unknown>>;
    const { token } = await post('/v1/devices', {});
    await post('/v1/events', { proto: 1, events: [aRanking(), aRanking()] }, token as string);
    const children = () =>
      processesOf(folder).then((all) => all.filter((line) => /child\.ts/.test(line)));
    await expect.poll(children, { timeout: 120_000 }).toHaveLength(1);

    const stopMs = Date.now();
    expect(await rapport.stop()).toBe(0);
    expect(Date.now() - stopMs).toBeLessThan(10_000);
    await expect.poll(children, { timeout: 10_000 }).toEqual([]);
    const { runs, close } = await openContext(folder);
    await runs.failOrphans();
    expect(['cancelled', 'failed']).toContain((await runs.list())[0]!.status);
    await close();
    for (const left of [folder, model]) await rm(left, { recursive: true, force: true });
  },
);

/** Command lines of the processes that name `folder`. */
async function processesOf(folder: string): Promise<string[]> {
  const ids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(
    ids.map((id) => readFile(`/proc/${id}/cmdline`, 'utf8').catch(() => '')),
  );
  return lines.filter((line) => line.includes(folder));
}

const endOf = (child: ChildProcess): Promise<number | null> =>
  new Promise((ended) => child.once('close', ended));

/** What a process prints that fits `pattern`; the first group of it. */
function said(child: ChildProcess, pattern: RegExp): Promise<string> {
  let output = '';
  return new Promise((found, failed) => {
    const listen = (bytes: Buffer) => {
      output += String(bytes);
      const match = pattern.exec(output);
      if (match) found(match[1]!);
    };
    child.stdout!.on('data', listen);
    child.stderr!.on('data', listen);
    child.once('close', (code) => failed(new Error(`It ended with ${code}:\n${output}`)));
  });
}
