import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { download } from './download.mjs';
import { startHost, type TestHost } from './test-host.ts';

const content = Buffer.from(Array.from({ length: 50_000 }, (_, index) => (index * 31) % 251));
const sha256 = createHash('sha256').update(content).digest('hex');

let folder: string;
let host: TestHost;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rapport-download-'));
  host = await startHost();
});

afterEach(async () => {
  await host.close();
  await rm(folder, { recursive: true });
});

test('a file arrives whole under its name, and no part is left', async () => {
  host.serve('/file', content);
  const seen: number[] = [];
  const to = join(folder, 'sub', 'file');
  await download(`${host.url}/file`, {
    to,
    sha256,
    onProgress: ({ receivedBytes, totalBytes }) => {
      expect(totalBytes).toBe(content.length);
      seen.push(receivedBytes);
    },
  });
  expect(await readFile(to)).toEqual(content);
  expect(seen.at(-1)).toBe(content.length);
  await expect(readFile(`${to}.part`)).rejects.toThrow('ENOENT');
});

test('a connection that breaks again and again is taken up where it broke', async () => {
  host.serve('/file', content, { breakAfterBytes: 9_000 });
  const to = join(folder, 'file');
  await download(`${host.url}/file`, { to, sha256, sizeBytes: content.length, pauseMs: 1 });
  expect(await readFile(to)).toEqual(content);
  expect(host.ranges).toEqual([undefined, 9_000, 18_000, 27_000, 36_000, 45_000]);
});

test('a later run continues the part an earlier run left', async () => {
  host.serve('/file', content);
  const to = join(folder, 'file');
  await writeFile(`${to}.part`, content.subarray(0, 30_000));
  await download(`${host.url}/file`, { to, sha256 });
  expect(await readFile(to)).toEqual(content);
  expect(host.ranges).toEqual([30_000]);
});

test('a host without ranges sends the file anew, and it is not appended to the part', async () => {
  host.serve('/file', content, { ranges: false });
  const to = join(folder, 'file');
  await writeFile(`${to}.part`, content.subarray(0, 30_000));
  await download(`${host.url}/file`, { to, sha256 });
  expect(await readFile(to)).toEqual(content);
});

test('a part that is already whole is only checked', async () => {
  host.serve('/file', content);
  const to = join(folder, 'file');
  await writeFile(`${to}.part`, content);
  await download(`${host.url}/file`, { to, sha256 });
  expect(await readFile(to)).toEqual(content);
});

test('a part longer than the file is thrown away', async () => {
  host.serve('/file', content);
  const to = join(folder, 'file');
  await writeFile(`${to}.part`, Buffer.concat([content, content]));
  await download(`${host.url}/file`, { to, sha256, pauseMs: 1 });
  expect(await readFile(to)).toEqual(content);
});

test('a file with another hash is refused and removed', async () => {
  host.serve('/file', Buffer.from('something else'));
  const to = join(folder, 'file');
  await expect(download(`${host.url}/file`, { to, sha256 })).rejects.toMatchObject({
    code: 'model/digest',
    message: expect.stringContaining(sha256),
  });
  await expect(readFile(to)).rejects.toThrow('ENOENT');
  await expect(readFile(`${to}.part`)).rejects.toThrow('ENOENT');
});

test('a 404 is final and named', async () => {
  const to = join(folder, 'file');
  await expect(download(`${host.url}/none`, { to })).rejects.toMatchObject({
    code: 'model/http',
    message: expect.stringContaining('/none: HTTP 404'),
  });
  expect(host.ranges.length).toBe(1);
});

test('a host that is busy for a moment is asked again', async () => {
  host.serve('/file', content, { busyAnswers: 2 });
  const to = join(folder, 'file');
  await download(`${host.url}/file`, { to, sha256, pauseMs: 1 });
  expect(await readFile(to)).toEqual(content);
});

test('silence counts as a broken connection', async () => {
  host.serve('/file', content, { silent: true });
  const to = join(folder, 'file');
  const options = { to, stallMs: 60, pauseMs: 1 };
  await expect(download(`${host.url}/file`, options)).rejects.toMatchObject({
    code: 'model/http',
    message: expect.stringContaining('nothing arrived for 0.06 s'),
  });
});

test('a cancelled download stops and keeps its part for later', async () => {
  host.serve('/file', content, { breakAfterBytes: 9_000, silent: true });
  const to = join(folder, 'file');
  const cancel = new AbortController();
  const running = download(`${host.url}/file`, {
    to,
    signal: cancel.signal,
    onProgress: () => cancel.abort(),
  });
  await expect(running).rejects.toMatchObject({ name: 'AbortError' });
});

test('nobody at the address is said in words', async () => {
  await host.close();
  await expect(download(`${host.url}/file`, { to: join(folder, 'file') })).rejects.toMatchObject({
    code: 'model/http',
    message: expect.stringContaining('ECONNREFUSED'),
  });
});
