// Brings node_modules in line with package-lock.json, and does nothing when it already is.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { failure } from '../apps/server/model-source/failure.mjs';
import { runTool, tail } from './child.mjs';

/**
 * Runs `npm ci` when there is nothing, `npm install` when the lock file changed since the last time.
 * Throws `start/install`.
 *
 * @param {string} root of the repository
 * @param {{note: (text: string) => void, signal?: AbortSignal}} options
 * @returns {Promise<boolean>} whether something was installed
 */
export async function ensureInstalled(root, { note, signal }) {
  const folder = join(root, 'node_modules');
  const stamp = join(folder, '.rapport-installed');
  const present = await readFile(stamp, 'utf8').catch(() => '');
  if (present === (await lockDigest(root))) return false;
  const fresh = !existsSync(folder);
  note(fresh ? 'installing packages (once)' : 'bringing packages up to date');
  await npm([fresh ? 'ci' : 'install', '--include=dev', '--no-audit', '--no-fund'], root, signal);
  await writeFile(stamp, await lockDigest(root));
  return true;
}

/**
 * What the installed packages depend on: the lock file and Node's binary interface.
 *
 * @param {string} root
 */
async function lockDigest(root) {
  const lock = await readFile(join(root, 'package-lock.json'));
  return createHash('sha256').update(lock).update(process.versions.modules).digest('hex');
}

/**
 * @param {string[]} args
 * @param {string} cwd
 * @param {AbortSignal} [signal]
 */
async function npm(args, cwd, signal) {
  // Started by npm, we use the same npm; else the one on the path.
  const script = process.env.npm_execpath;
  const [command, first] = script?.endsWith('.js') ? [process.execPath, [script]] : ['npm', []];
  const env = { NODE_ENV: 'development' };
  const run = runTool(command, [...first, ...args], { cwd, env, ...(signal ? { signal } : {}) });
  const { code, output } = await run.catch((error) => {
    if (signal?.aborted) throw error;
    return { code: 1, output: `${command}: ${error.message}` };
  });
  if (code === 0) return;
  throw failure(
    'start/install',
    `npm ${args[0]} failed with exit code ${code}:\n${tail(output, 12)}`,
    remedyFor(output),
  );
}

/** @param {string} output */
function remedyFor(output) {
  if (/ENOSPC/.test(output))
    return 'Free some disk space (about 700 MB are needed), then try again.';
  if (/ENOTFOUND|ECONNREFUSED|ETIMEDOUT|EAI_AGAIN|ECONNRESET|network/i.test(output))
    return 'The package registry is out of reach: check the network or the proxy of npm, then try again.';
  if (/EACCES|EPERM/.test(output)) return 'Make this folder writable for you, then try again.';
  return 'Delete node_modules and try again.';
}
