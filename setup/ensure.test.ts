// What `npm start` makes sure of before anything runs: packages and the built client, with tools of our own in the
// place of npm and Vite.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { clientFolder, ensureClient } from './build-client.mjs';
import { ensureInstalled } from './install.mjs';

let root: string;
let notes: string[];
const note = (text: string) => void notes.push(text);

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'rapport-setup-'));
  notes = [];
  await put('package-lock.json', '{"lockfileVersion": 3}');
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(root, { recursive: true });
});

async function put(path: string, content: string): Promise<string> {
  const file = join(root, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, content);
  return file;
}

/** An npm that notes what it was asked for, says something and ends. */
async function npmThat(says = '', code = 0): Promise<void> {
  const script = `
    const { appendFileSync, mkdirSync } = require('node:fs');
    mkdirSync('node_modules', { recursive: true });
    appendFileSync('asked', process.argv[2] + '\\n');
    console.error(${JSON.stringify(says)});
    process.exit(${code});`;
  vi.stubEnv('npm_execpath', await put('npm.js', script));
}
const asked = async () => (await readFile(join(root, 'asked'), 'utf8')).trim().split('\n');

test('packages are installed once, and again when the lock file changes', async () => {
  await npmThat();
  expect(await ensureInstalled(root, { note })).toBe(true);
  expect(await ensureInstalled(root, { note })).toBe(false);
  await put('package-lock.json', '{"lockfileVersion": 3, "packages": {}}');
  expect(await ensureInstalled(root, { note })).toBe(true);
  expect(await asked()).toEqual(['ci', 'install']);
  expect(notes).toHaveLength(2);
});

test.each([
  ['npm error ENOSPC: no space left on device', 'Free some disk space'],
  ['npm error request to the registry failed, reason: ENOTFOUND', 'out of reach'],
  ['npm error EACCES: permission denied', 'writable'],
  ['npm error something else', 'Delete node_modules'],
])('an npm that fails with "%s" is told with a remedy, and tried again', async (says, remedy) => {
  await npmThat(says, 1);
  const refusal = ensureInstalled(root, { note });
  await expect(refusal).rejects.toMatchObject({
    code: 'start/install',
    message: expect.stringContaining(says),
    remedy: expect.stringContaining(remedy),
  });
  await npmThat();
  expect(await ensureInstalled(root, { note })).toBe(true);
});

/** A client with sources, and a Vite that builds it, or does not. */
async function viteThat(code = 0): Promise<void> {
  for (const source of [
    'apps/web/a.ts',
    'packages/core/a.ts',
    'packages/rlhf/a.ts',
    'vite.config.ts',
  ])
    await put(source, 'export {};');
  await put(
    'node_modules/vite/bin/vite.js',
    `require('node:fs').mkdirSync('apps/web/dist', { recursive: true });
     console.error('transforming');
     process.exit(${code});`,
  );
}

test('the client is built once, and again when one of its sources changes, but no test of it', async () => {
  await viteThat();
  expect(await ensureClient(root, { note })).toBe(true);
  expect(await ensureClient(root, { note })).toBe(false);
  await put('apps/web/src/main.test.ts', 'export {};');
  expect(await ensureClient(root, { note })).toBe(false);
  await put('packages/core/src/index.ts', 'export {};');
  expect(await ensureClient(root, { note })).toBe(true);
});

test('a client that cannot be built is told with what the build said, and tried again', async () => {
  await viteThat(1);
  await expect(ensureClient(root, { note })).rejects.toMatchObject({
    code: 'start/build',
    message: expect.stringContaining('transforming'),
  });
  await viteThat();
  expect(await ensureClient(root, { note })).toBe(true);
  expect(clientFolder(root)).toBe(join(root, 'apps', 'web', 'dist'));
});
