// The folder of downloaded models: where it is, who may write to it, and whether a file is intact.
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readFile, rename, rm, stat, statfs, utimes } from 'node:fs/promises';
import { homedir, hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { failure } from './failure.mjs';

/** `$RAPPORT_CACHE`, else `~/.cache/rapport`. It lies outside the checkout and survives `npm ci`. */
export function cacheFolder() {
  return process.env.RAPPORT_CACHE || join(homedir(), '.cache', 'rapport');
}

/**
 * The sha256 of a file, lower-case hex.
 *
 * @param {string} path
 * @returns {Promise<string>}
 */
export async function sha256Of(path) {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk);
  return hash.digest('hex');
}

/**
 * @param {string} path
 * @returns {Promise<number | undefined>} bytes, undefined when there is no such file
 */
export async function sizeOf(path) {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() ? found.size : undefined;
}

/**
 * Puts text under a name in one step: a reader sees all of it or none.
 *
 * @param {string} path
 * @param {string} text
 */
export async function writeWhole(path, text) {
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${randomUUID()}`;
  const file = await open(temporary, 'wx');
  await file.writeFile(text);
  await file.close();
  await rename(temporary, path);
}

/**
 * Throws `model/no-space` when the disk below `folder` cannot take so many bytes.
 *
 * @param {string} folder
 * @param {number} bytes
 */
export async function needSpace(folder, bytes) {
  await mkdir(folder, { recursive: true });
  const disk = await statfs(folder);
  const free = disk.bavail * disk.bsize;
  if (free >= bytes) return;
  throw failure(
    'model/no-space',
    `${folder} has ${megabytes(free)} free and ${megabytes(bytes)} are needed.`,
    'Free some space, or set RAPPORT_CACHE to a folder on another disk.',
  );
}

/** @param {number} bytes */
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

const beatMs = 2_000;
const staleMs = 15_000;

/**
 * Runs `work` while no other process runs under the same name. A lock is abandoned when its holder
 * is a dead process of this machine, or did not touch the file for fifteen seconds.
 *
 * @template T
 * @param {string} path of the lock file
 * @param {() => Promise<T>} work
 * @param {() => void} [onWait] called once when somebody else holds the lock
 * @param {AbortSignal} [signal]
 * @returns {Promise<T>}
 */
export async function withLock(path, work, onWait, signal) {
  await mkdir(dirname(path), { recursive: true });
  const mine = `${process.pid} ${hostname()} ${randomUUID()}`;
  for (let waited = false; !(await take(path, mine)); waited = true) {
    if (!waited) onWait?.();
    if (await isAbandoned(path)) await rm(path, { force: true });
    else await sleep(300, undefined, { signal });
  }
  const beat = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => {});
  }, beatMs);
  try {
    return await work();
  } finally {
    clearInterval(beat);
    const holder = await readFile(path, 'utf8').catch(() => '');
    if (holder === mine) await rm(path, { force: true });
  }
}

/**
 * @param {string} path
 * @param {string} mine
 */
async function take(path, mine) {
  try {
    const file = await open(path, 'wx');
    await file.writeFile(mine);
    await file.close();
    return true;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EEXIST') return false;
    throw error;
  }
}

/** @param {string} path */
async function isAbandoned(path) {
  try {
    if (Date.now() - (await stat(path)).mtimeMs > staleMs) return true;
    const [pid, host] = (await readFile(path, 'utf8')).split(' ');
    return host === hostname() && !isAlive(Number(pid));
  } catch {
    return false; // Released in the meantime.
  }
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code !== 'ESRCH';
  }
}
