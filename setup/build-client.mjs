// Builds the client when one of its sources changed since the last build.
import { createHash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { failure } from '../apps/server/model-source/failure.mjs';
import { runTool, tail } from './child.mjs';

const sources = [
  'apps/web',
  'packages/core',
  'packages/rlhf',
  'vite.config.ts',
  'package-lock.json',
];
const skipped = new Set(['node_modules', 'dist']);

/** Where the built client lies. @param {string} root */
export const clientFolder = (root) => join(root, 'apps', 'web', 'dist');

/**
 * Throws `start/build`.
 *
 * @param {string} root of the repository
 * @param {{note: (text: string) => void, signal?: AbortSignal}} options
 * @returns {Promise<boolean>} whether it was built
 */
export async function ensureClient(root, { note, signal }) {
  const stamp = join(clientFolder(root), '.sources');
  const wanted = await digestOf(root);
  if ((await readFile(stamp, 'utf8').catch(() => '')) === wanted) return false;
  note('building the client');
  const vite = join(root, 'node_modules', 'vite', 'bin', 'vite.js');
  const { code, output } = await runTool(process.execPath, [vite, 'build'], {
    cwd: root,
    env: { NODE_ENV: 'production' },
    ...(signal ? { signal } : {}),
  });
  if (code !== 0)
    throw failure(
      'start/build',
      `The client could not be built:\n${tail(output, 20)}`,
      'If you changed its sources, mend what the message names; else run npm ci and try again.',
    );
  await writeFile(stamp, wanted);
  return true;
}

/**
 * One hash over names and contents of everything the build reads.
 *
 * @param {string} root
 */
async function digestOf(root) {
  const hash = createHash('sha256');
  for (const source of sources)
    for (const path of await filesBelow(join(root, source)))
      hash.update(`\0${relative(root, path)}\0`).update(await readFile(path));
  return hash.digest('hex');
}

/**
 * @param {string} path
 * @returns {Promise<string[]>} sorted
 */
async function filesBelow(path) {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => undefined);
  if (!entries) return [path];
  const found = [];
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (skipped.has(entry.name) || entry.name.endsWith('.test.ts')) continue;
    const below = join(path, entry.name);
    if (entry.isDirectory()) found.push(...(await filesBelow(below)));
    else if (entry.isFile()) found.push(below);
  }
  return found;
}
