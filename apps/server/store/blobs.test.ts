import { utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { sha256Hex } from '@rapport/core';
import { Blobs } from './blobs.ts';
import { temporaryFolder, temporaryStore } from './test-store.ts';

/** A file that is served from where it lies, written at a time given in seconds since 1970. */
async function scene() {
  const [db, folder] = [await temporaryStore(), await temporaryFolder()];
  const path = join(folder, 'model.gguf');
  const write = async (text: string, at: number) => {
    await writeFile(path, text);
    await utimes(path, at, at);
  };
  return { db, path, write, blobs: new Blobs(db, folder) };
}

test('a file overwritten by another of the same size is another blob', async () => {
  const { blobs, path, write } = await scene();
  await write('one', 1);
  const one = await blobs.adopt(path);
  expect(await blobs.find(one.digest)).toEqual({ path, size: 3 });
  await write('two', 2);
  expect(await blobs.find(one.digest)).toBeUndefined();
  const two = await blobs.adopt(path);
  expect(two.digest).toBe(await sha256Hex(Buffer.from('two')));
  expect(await blobs.find(one.digest)).toBeUndefined();
  expect(await blobs.find(two.digest)).toEqual({ path, size: 3 });
});

test('a file that was only touched, or has no time yet, is the blob it was', async () => {
  const { db, blobs, path, write } = await scene();
  await write('one', 1);
  const { digest } = await blobs.adopt(path);
  await utimes(path, 2, 2);
  expect(await blobs.find(digest)).toEqual({ path, size: 3 });
  await db.updateTable('blobs').set({ modified_at: null }).execute();
  expect(await blobs.find(digest)).toEqual({ path, size: 3 });
  expect(await db.selectFrom('blobs').select('modified_at').execute()).toEqual([
    { modified_at: 2000 },
  ]);
});
