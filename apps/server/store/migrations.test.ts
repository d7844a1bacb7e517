import { join } from 'node:path';
import { Kysely, Migrator, SqliteDialect, type SqliteDatabase } from 'kysely';
import Libsql from 'libsql';
import { expect, onTestFinished, test } from 'vitest';
import { openDatabase } from './database.ts';
import { migrations } from './migrations.ts';
import { temporaryFolder } from './test-store.ts';
import type { Tables } from './schema.ts';

test('a migration that is broken off leaves the store as it was', async () => {
  const folder = await temporaryFolder();
  const first = migrations['001-first']!;
  const broken = async (db: Kysely<unknown>) => {
    await first.up(db);
    throw new Error('power cut');
  };
  await expect(openDatabase(folder, { '001-first': { up: broken } })).rejects.toThrow(
    expect.objectContaining({ code: 'store/migration', message: expect.stringContaining('power') }),
  );
  const db = await openDatabase(folder);
  onTestFinished(() => db.destroy());
  expect(await db.selectFrom('events').selectAll().execute()).toEqual([]);
});

/** A store as an earlier version left it, and what `fill` put there. */
async function storeAt(last: string, fill: (db: Kysely<Tables>) => Promise<unknown>) {
  const folder = await temporaryFolder();
  const database = new Libsql(join(folder, 'rapport.db')) as unknown as SqliteDatabase;
  const old = new Kysely<Tables>({ dialect: new SqliteDialect({ database }) });
  const provider = { getMigrations: () => Promise.resolve(migrations) };
  const { error } = await new Migrator({ db: old, provider }).migrateTo(last);
  expect(error).toBeUndefined();
  await fill(old);
  await old.destroy();
  const db = await openDatabase(folder);
  onTestFinished(() => db.destroy());
  return db;
}

const event = (device: string, id: string, received_at: number, more = {}) => ({
  ...{ device, id, received_at, type: 'vote', at: '1', release: 'base', consent: 'true' },
  ...{ supersedes: null, superseded_by: null, hash: `hash of ${id}`, body: '{}' },
  ...{ snapshot_id: null, ...more },
});

test('what two enrolments of one device sent becomes one row each, and corrections reach across', async () => {
  const db = await storeAt('001-first', (old) =>
    old
      .insertInto('events')
      .values([
        event('new', 'twice', 20),
        event('old', 'twice', 10, { snapshot_id: 'first' }),
        event('old', 'other', 11),
        // The same id for something else: kept, since nothing may be forgotten.
        event('new', 'other', 21, { hash: 'something else' }),
        event('old', 'corrected', 12),
        event('new', 'correction', 22, { supersedes: 'corrected' }),
      ])
      .execute(),
  );
  const rows = await db
    .selectFrom('events')
    .select(['device', 'id', 'superseded_by', 'snapshot_id'])
    .orderBy('received_at')
    .execute();
  expect(rows.map((row) => [row.device, row.id, row.superseded_by, row.snapshot_id])).toEqual([
    ['old', 'twice', null, 'first'],
    ['old', 'other', null, null],
    ['old', 'corrected', 'correction', null],
    ['new', 'other', null, null],
    ['new', 'correction', null, null],
  ]);
});

test('releases of before keep the counts that their datasets gave', async () => {
  const dataset = { digest: 'd', votes: 1, rankings: 0, edits: 0, devices: 1, flagged_at: null };
  const release = { envelope: '{}', run: null, flagged_at: null };
  const db = await storeAt('002-one-row-per-event', async (old) => {
    await old
      .insertInto('datasets')
      .values([
        { ...dataset, id: 'first', created_at: 1 },
        { ...dataset, id: 'second', created_at: 2 },
      ])
      .execute();
    await old
      .insertInto('releases')
      .values([
        { ...release, id: 'early', dataset: 'first', created_at: 1 },
        { ...release, id: 'late', dataset: 'second', created_at: 2 },
      ])
      .execute();
    await old
      .insertInto('events')
      .values([
        event('a', '1', 1, { snapshot_id: 'first' }),
        event('a', '2', 2, { snapshot_id: 'second' }),
        event('b', '3', 2, { snapshot_id: 'second' }),
        event('b', '4', 3),
        event('b', '5', 1, { snapshot_id: 'first', superseded_by: '3' }),
      ])
      .execute();
  });
  const rows = await db
    .selectFrom('learned')
    .selectAll()
    .orderBy('release')
    .orderBy('device')
    .execute();
  expect(rows).toEqual([
    { release: 'early', device: 'a', judgements: 1 },
    { release: 'late', device: 'a', judgements: 2 },
    { release: 'late', device: 'b', judgements: 1 },
  ]);
});
