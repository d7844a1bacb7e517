import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { withLock } from './cache.mjs';

let folder: string;
let lock: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rapport-lock-'));
  lock = join(folder, 'model.lock');
});

afterEach(() => rm(folder, { recursive: true }));

test('work under one lock never overlaps, and the lock is gone afterwards', async () => {
  let inside = 0;
  const work = async () => {
    expect(++inside).toBe(1);
    await new Promise((done) => setTimeout(done, 20));
    inside--;
  };
  await Promise.all([withLock(lock, work), withLock(lock, work), withLock(lock, work)]);
  expect(await readdir(folder)).toEqual([]);
});

test('a failure gives the lock back', async () => {
  const failing = withLock(lock, () => Promise.reject(new Error('no luck')));
  await expect(failing).rejects.toThrow('no luck');
  expect(await withLock(lock, () => Promise.resolve('next'))).toBe('next');
});

test('a lock whose process died is taken over at once', async () => {
  const { pid } = spawnSync(process.execPath, ['-e', '0']);
  await writeFile(lock, `${pid} ${hostname()} x`);
  expect(await withLock(lock, () => Promise.resolve('mine'))).toBe('mine');
});

test('a lock of another machine is taken over when it was not touched for long', async () => {
  await writeFile(lock, `${process.pid} elsewhere x`);
  const longAgo = new Date(Date.now() - 60_000);
  await utimes(lock, longAgo, longAgo);
  expect(await withLock(lock, () => Promise.resolve('mine'))).toBe('mine');
});

test('waiting can be cancelled', async () => {
  await writeFile(lock, `${process.pid} ${hostname()} x`);
  const cancel = new AbortController();
  const waiting = withLock(
    lock,
    () => Promise.resolve(),
    () => cancel.abort(),
    cancel.signal,
  );
  await expect(waiting).rejects.toMatchObject({ name: 'AbortError' });
});
