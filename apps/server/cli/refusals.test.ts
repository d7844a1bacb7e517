// What people mistype is said in words, with what to do next; it is never called a bug.
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openContext } from '../context.ts';
import { temporaryFolder } from '../store/test-store.ts';
import { rapport } from './test-cli.ts';

/** Where files of every wrong kind lie, beside a data folder. */
async function wrongFiles(): Promise<(name: string) => string> {
  const folder = await temporaryFolder();
  const at = (name: string) => join(folder, name);
  await mkdir(at('folder.d'));
  await writeFile(at('likes.mjs'), 'export default (prompt, reply) => reply.length;\n');
  await writeFile(at('broken.mjs'), 'export default (');
  await writeFile(at('constant.mjs'), 'export default 5;\n');
  await writeFile(at('rows.jsonl'), '{}\n');
  await writeFile(at('numbers.jsonl'), '{}\n5\n');
  await writeFile(at('broken.jsonl.gz'), 'no gzip');
  await writeFile(at('broken.json'), '{"seed": ');
  expect((await rapport(at('data'), 'keys', 'init')).code).toBe(0);
  return at;
}

test.each([
  ['simulate --prompts rows.jsonl --annotator missing.mjs'],
  ['simulate --prompts rows.jsonl --annotator broken.mjs'],
  ['simulate --prompts rows.jsonl --annotator constant.mjs'],
  ['simulate --annotator likes.mjs --prompts missing.jsonl'],
  ['simulate --annotator likes.mjs --prompts folder.d'],
  ['simulate --annotator likes.mjs --prompts rows.jsonl --config missing.json'],
  ['simulate --annotator likes.mjs --prompts rows.jsonl --config broken.json'],
  ['simulate --annotator likes.mjs --prompts rows.jsonl --out rows.jsonl/x'],
  ['evaluate reward --test rows.jsonl --train missing.jsonl'],
  ['evaluate reward --test rows.jsonl --train numbers.jsonl'],
  ['evaluate reward --train rows.jsonl --test broken.jsonl.gz'],
  ['feedback export --out missing.d/x.jsonl'],
  ['feedback import missing.jsonl'],
  ['feedback import folder.d'],
  ['train --config missing.json'],
])('%s names the file', async (line) => {
  const at = await wrongFiles();
  const words = line.split(' ').map((word) => (word.includes('.') ? at(word) : word));
  const { code, said } = await rapport(at('data'), ...words);
  expect(code, said).toBe(1);
  expect(said).toContain(words.at(-1));
  expect(said.trim().split('\n').length).toBeGreaterThan(1);
  expect(said).not.toMatch(/bug of Rapport|^\s+at /m);
});

test.each([['rows.jsonl'], ['rows.jsonl/x']])('--data %s is refused in words', async (name) => {
  const at = await wrongFiles();
  const { code, said } = await rapport(at(name), 'keys', 'init');
  expect([code, said]).toEqual([1, expect.stringContaining(at(name))]);
  expect(said).not.toMatch(/bug of Rapport|^\s+at /m);
  // The server opens it the same way.
  await expect(openContext(at(name))).rejects.toMatchObject({ code: 'file/refused' });
});

test.each([['--data'], ['--model']])('an empty %s is wrong usage', async (flag) => {
  const folder = await temporaryFolder();
  expect(await rapport(folder, 'score', '--messages', 'x', flag, '')).toMatchObject({
    code: 2,
    said: expect.stringContaining('must not be empty'),
  });
});

test.each([
  ['status'],
  ['doctor'],
  ['erase --device d'],
  ['device list'],
  ['device revoke d'],
  ['keys show'],
  ['keys rotate'],
  ['runs list'],
  ['runs resume r'],
  ['release list'],
  ['release promote r'],
  ['release rollback'],
  ['release halt'],
  ['dataset freeze'],
  ['schedule show'],
  ['schedule off'],
  ['feedback export'],
  ['evaluate arena --releases base,r --prompts p --annotator a'],
])('%s makes no data folder', async (line) => {
  const folder = await temporaryFolder();
  for (const data of [folder, join(folder, 'none')]) {
    const { code, said } = await rapport(data, ...line.split(' '));
    expect([code, said.split('\n')[0]]).toEqual([1, `There is no data folder ${data}.`]);
  }
  expect(await readdir(folder)).toEqual([]);
});
