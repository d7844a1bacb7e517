import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openDatabase } from '../store/database.ts';
import { enrol } from '../store/devices.ts';
import { takeEvents } from '../store/events.ts';
import { aRanking, aVote, temporaryFolder } from '../store/test-store.ts';
import { rapport } from './test-cli.ts';

/** A data folder in which two devices judged: rankings, a tie, both thumbs, an edit and a correction. */
async function judged(): Promise<string> {
  const folder = await temporaryFolder();
  const db = await openDatabase(folder);
  const old = aVote(1);
  const { body, ...rest } = aVote(1);
  const { prompt, reply } = body as { prompt: unknown; reply: unknown };
  const edit = { ...rest, type: 'edit', body: { prompt, reply, text: 'Good day' } };
  const [a, b] = [await enrol(db), await enrol(db)];
  const events = [aRanking(), aRanking([1, 1]), old, aVote(-1), aVote(1, { supersedes: old.id })];
  for (const [{ device }, sent] of [[a, events] as const, [b, [edit]] as const])
    expect((await takeEvents(db, device, sent)).map(({ status }) => status)).toEqual(
      sent.map(() => 'accepted'),
    );
  await db.destroy();
  return folder;
}

async function exported(folder: string, format: string): Promise<string[]> {
  const file = join(folder, `${format}.jsonl`);
  const { code, json } = await rapport(
    folder,
    ...['feedback', 'export', '--format', format, '--out', file, '--json'],
  );
  const lines = (await readFile(file, 'utf8')).trim().split('\n').sort();
  expect([code, json]).toEqual([0, { rows: lines.length, out: file }]);
  return lines;
}

test.each([
  // Two rankings, two votes and an edit; the vote that was corrected is not current.
  ['rapport', 5],
  // Five decided pairs of four replies, one of the edit, one of opposite thumbs.
  ['trl', 7],
  // Best and worst of the ranking, two of the edit, two thumbs.
  ['kto', 6],
])('%s rows go into an empty store and come out the same, once', async (format, count) => {
  const from = await judged();
  const rows = await exported(from, format);
  expect(rows).toHaveLength(count);
  const to = await temporaryFolder();
  const bring = async () =>
    (await rapport(to, 'feedback', 'import', join(from, `${format}.jsonl`), '--json')).json;
  const none = { accepted: 0, duplicate: 0, tombstoned: 0, rejected: 0, deferred: 0 };
  expect(await bring()).toEqual({ ...none, accepted: count });
  expect(await exported(to, format)).toEqual(rows);
  expect(await bring()).toEqual({ ...none, duplicate: count });
  expect(await exported(to, format)).toEqual(rows);
});

test('rows of one export are known in the store they came from', async () => {
  const folder = await judged();
  const rows = await exported(folder, 'rapport');
  const { json } = await rapport(
    folder,
    ...['feedback', 'import', join(folder, 'rapport.jsonl'), '--json'],
  );
  expect(json).toMatchObject({ accepted: 0, duplicate: rows.length });
});

test('a line that is no JSON is named, and what stood before it is not lost', async () => {
  const [from, to] = [await judged(), await temporaryFolder()];
  const [first] = await exported(from, 'trl');
  const file = join(to, 'broken.jsonl');
  await writeFile(file, `${first}\n{"prompt": \n`);
  const { code, said } = await rapport(to, 'feedback', 'import', file);
  expect([code, said]).toEqual([1, expect.stringContaining(`Line 2 of ${file} is not JSON.`)]);
  await writeFile(file, `${first}\n`);
  expect((await rapport(to, 'feedback', 'import', file, '--json')).code).toBe(0);
  expect(await exported(to, 'trl')).toEqual([first]);
});
