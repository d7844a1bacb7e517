import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { makeZip } from './test-zip.ts';
import { extractMember, listZip } from './zip.mjs';

const large = Buffer.from('a model is a long file. '.repeat(4_000));
let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rapport-zip-'));
  path = join(folder, 'archive.whl');
});

afterEach(() => rm(folder, { recursive: true }));

async function extract(name: string) {
  const member = (await listZip(path)).find((found) => found.name === name);
  if (!member) throw new Error(`no ${name}`);
  await extractMember(path, member, join(folder, 'out'));
  return readFile(join(folder, 'out'));
}

test('stored and deflated members come out as they went in', async () => {
  await writeFile(
    path,
    makeZip([
      { name: 'a/stored.txt', content: Buffer.from('stored'), stored: true },
      { name: 'a/model.gguf', content: large },
    ]),
  );
  expect((await listZip(path)).map(({ name }) => name)).toEqual(['a/stored.txt', 'a/model.gguf']);
  expect(await extract('a/model.gguf')).toEqual(large);
  expect((await extract('a/stored.txt')).toString()).toBe('stored');
});

test('an archive with a comment at its end is read', async () => {
  await writeFile(path, makeZip([{ name: 'x', content: large }], { comment: 'made for a test' }));
  expect(await extract('x')).toEqual(large);
});

test('an archive in zip64 form is read', async () => {
  await writeFile(path, makeZip([{ name: 'x', content: large }], { zip64: true }));
  expect(await extract('x')).toEqual(large);
});

describe('a damaged archive is refused with a named error', () => {
  const whole = makeZip([
    { name: 'x', content: large },
    { name: 'y', content: Buffer.from('y') },
  ]);

  test.each([0, 3, 29, 100, 0.5, 0.9, 0.99])('cut short at %s', async (cut) => {
    const length = cut < 1 && cut > 0 ? Math.floor(whole.length * cut) : cut;
    await writeFile(path, whole.subarray(0, length));
    await expect(extract('x')).rejects.toMatchObject({ code: 'model/bad-zip' });
  });

  test('every single cut in the directory', async () => {
    for (let length = whole.length - 1; length > whole.length - 140; length -= 7) {
      await writeFile(path, whole.subarray(0, length));
      await expect(extract('x')).rejects.toMatchObject({ code: 'model/bad-zip' });
    }
  });

  test('a directory said to be huge', async () => {
    const bytes = Buffer.from(whole);
    bytes.writeUInt32LE(0x7fffffff, bytes.length - 10);
    await writeFile(path, bytes);
    await expect(listZip(path)).rejects.toMatchObject({ code: 'model/bad-zip' });
  });

  test('a member that unpacks to more than it states', async () => {
    await writeFile(path, makeZip([{ name: 'x', content: large, statedBytes: 10 }]));
    await expect(extract('x')).rejects.toMatchObject({
      code: 'model/bad-zip',
      message: expect.stringContaining('larger than stated'),
    });
  });

  test('packed bytes that are no deflate stream', async () => {
    const bytes = Buffer.from(whole);
    bytes.fill(0xff, 40, 80);
    await writeFile(path, bytes);
    await expect(extract('x')).rejects.toMatchObject({ code: 'model/bad-zip' });
  });

  test('a method nobody uses', async () => {
    await writeFile(path, makeZip([{ name: 'x', content: large, method: 12 }]));
    await expect(extract('x')).rejects.toMatchObject({
      message: expect.stringContaining('method 12'),
    });
  });
});
