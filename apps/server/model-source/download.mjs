// Downloads one file over HTTP: resumes after a broken connection or a broken run, checks size and
// hash, and gives up only when the other side stays silent. Knows nothing of models.
import { createWriteStream } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { sha256Of, sizeOf } from './cache.mjs';
import { failure, reasonOf } from './failure.mjs';

/**
 * @typedef {object} DownloadOptions
 * @property {string} to where the complete file goes; `${to}.part` holds what has arrived so far
 * @property {string} [sha256] expected hash
 * @property {number} [sizeBytes] expected size
 * @property {Record<string, string>} [headers]
 * @property {(progress: {receivedBytes: number, totalBytes: number | undefined}) => void} [onProgress]
 * @property {AbortSignal} [signal]
 * @property {number} [stallMs] silence after which a connection counts as broken
 * @property {number} [pauseMs] before the first repeat; doubles
 */

const triesWithoutProgress = 4;

/**
 * Downloads `url` to `options.to`. Throws `model/http` (refused or broken off), `model/digest`.
 *
 * @param {string} url
 * @param {DownloadOptions} options
 * @returns {Promise<void>}
 */
export async function download(url, options) {
  const { to, sha256, signal, pauseMs = 500 } = options;
  const part = `${to}.part`;
  await mkdir(dirname(to), { recursive: true });
  let fruitless = 0;
  for (;;) {
    const before = (await sizeOf(part)) ?? 0;
    try {
      await receive(url, part, before, options);
      break;
    } catch (error) {
      signal?.throwIfAborted();
      const grew = ((await sizeOf(part)) ?? 0) > before;
      fruitless = grew ? 1 : fruitless + 1;
      if (!isPassing(error) || fruitless >= triesWithoutProgress) throw unreachable(url, error);
      await sleep(pauseMs * 2 ** (fruitless - 1), undefined, { signal });
    }
  }
  const actual = sha256 && (await sha256Of(part));
  if (sha256 && actual !== sha256) {
    await rm(part, { force: true });
    throw failure(
      'model/digest',
      `${safeUrl(url)} has sha256 ${actual}, expected ${sha256}.`,
      'Try again; if it repeats, a proxy or mirror on the way changes the file.',
    );
  }
  await rename(part, to);
}

/**
 * @param {string} url
 * @param {string} part
 * @param {number} have bytes already there
 * @param {DownloadOptions} options
 */
async function receive(url, part, have, options) {
  const { headers, onProgress, signal, stallMs = 30_000, sizeBytes } = options;
  const stalled = new AbortController();
  let timer = setTimeout(() => {}, 0);
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(
      () => stalled.abort(passing(`nothing arrived for ${stallMs / 1000} s`)),
      stallMs,
    );
  };
  alive();
  try {
    const response = await fetch(url, {
      headers: { ...headers, ...(have > 0 ? { range: `bytes=${have}-` } : {}) },
      signal: signal ? AbortSignal.any([signal, stalled.signal]) : stalled.signal,
    });
    if (response.status === 416) return await afterRefusedRange(response, part, have);
    if (!response.ok || !response.body) {
      await response.body?.cancel();
      throw Object.assign(new Error(`HTTP ${response.status}`), { status: response.status });
    }
    const start = response.status === 206 ? rangeStart(response, have) : 0;
    const length = Number(response.headers.get('content-length') ?? NaN);
    const encoded = response.headers.get('content-encoding');
    const totalBytes = sizeBytes ?? (Number.isNaN(length) || encoded ? undefined : start + length);
    let received = start;
    const count = new Transform({
      transform(chunk, _encoding, done) {
        alive();
        received += chunk.length;
        onProgress?.({ receivedBytes: received, totalBytes });
        done(null, chunk);
      },
    });
    const body = Readable.fromWeb(/** @type {any} */ (response.body));
    await pipeline(body, count, createWriteStream(part, start > 0 ? { flags: 'a' } : {}));
    if (totalBytes !== undefined && received < totalBytes)
      throw passing(`the connection ended at byte ${received} of ${totalBytes}`);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * A 206 answer must continue where we stopped, or the file would be silently scrambled.
 *
 * @param {Response} response
 * @param {number} have
 */
function rangeStart(response, have) {
  const stated = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '');
  if (!stated || Number(stated[1]) === have) return have;
  throw new Error(`asked for bytes from ${have}, got bytes from ${stated[1]}`);
}

/**
 * "Range not satisfiable" means the part is already whole, or longer than the file.
 *
 * @param {Response} response
 * @param {string} part
 * @param {number} have
 */
async function afterRefusedRange(response, part, have) {
  await response.body?.cancel();
  const total = /\/(\d+)$/.exec(response.headers.get('content-range') ?? '');
  if (total && Number(total[1]) === have) return;
  await rm(part, { force: true });
  throw passing(`a left-over part of ${have} bytes did not fit`);
}

/** @param {string} message */
const passing = (message) => Object.assign(new Error(message), { passing: true });

/**
 * Worth another try: broken connections, silence, 408, 429 and 5xx. Not 404, nor a full disk.
 *
 * @param {any} error
 */
function isPassing(error) {
  if (error?.passing) return true;
  if (typeof error?.status === 'number')
    return error.status === 408 || error.status === 429 || error.status >= 500;
  const code = error?.code ?? error?.cause?.code;
  if (code === 'ENOSPC' || code === 'EACCES' || code === 'EDQUOT') return false;
  if (code === 'ENOTFOUND' || code === 'ECONNREFUSED') return false;
  return error instanceof TypeError || typeof code === 'string';
}

/**
 * @param {string} url
 * @param {unknown} error
 */
function unreachable(url, error) {
  if (/** @type {any} */ (error)?.code === 'ENOSPC')
    return failure(
      'model/no-space',
      'The disk became full during the download.',
      'Free some space, or set RAPPORT_CACHE to a folder on another disk; the download resumes.',
      error,
    );
  return failure(
    'model/http',
    `${safeUrl(url)}: ${reasonOf(error)}.`,
    'Check the network connection, then start again; the download resumes.',
    error,
  );
}

/**
 * A URL that may be shown: without user, password and query.
 *
 * @param {string} url
 */
export function safeUrl(url) {
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`;
}
