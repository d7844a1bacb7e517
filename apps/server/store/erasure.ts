// Forgetting: bodies are deleted, ids stay so that a late repeat is refused, and every dataset and
// release that learned from what is gone is flagged.
import { RapportError } from '@rapport/core';
import type { Database, Queries } from './database.ts';
import { datasetsUpTo } from './datasets.ts';
import { needDevice } from './devices.ts';
import { uuidv7 } from './uuid.ts';

/** Ids per statement: SQLite bounds its parameters. */
const AT_ONCE = 500;

/** What was forgotten, and what had learned from it. */
export interface Receipt {
  receipt: string;
  device: string;
  events: number;
  erasedAt: number;
  datasets: string[];
  releases: string[];
  /** The first release made afterwards that did not learn from it; null until there is one. */
  cleanRelease: string | null;
}

/**
 * Erases the events `ids` and whatever they corrected, in a transaction of the caller, as `device` asked.
 * Ids that have not arrived are remembered too. Whoever knows an id may erase it: the device that sent
 * the event, perhaps under an earlier enrolment, is the only one that was told.
 */
export async function eraseEvents(
  tx: Queries,
  device: string,
  ids: readonly string[],
): Promise<string> {
  const erasedAt = Date.now();
  const gone = await withCorrected(tx, ids);
  const datasets: string[] = [];
  let events = 0;
  for (let from = 0; from < gone.length; from += AT_ONCE) {
    const some = gone.slice(from, from + AT_ONCE);
    const found = await tx
      .deleteFrom('events')
      .where('id', 'in', some)
      .returning('snapshot_id')
      .execute();
    await tx
      .insertInto('tombstones')
      .values(some.map((id) => ({ device, id, erased_at: erasedAt })))
      .onConflict((conflict) => conflict.columns(['device', 'id']).doNothing())
      .execute();
    events += found.length;
    for (const { snapshot_id: taken } of found)
      if (taken && !datasets.includes(taken)) datasets.push(taken);
  }
  const releases = await flag(tx, datasets, erasedAt);
  const receipt = uuidv7();
  await tx
    .insertInto('receipts')
    .values({
      id: receipt,
      device,
      events,
      datasets: JSON.stringify(datasets),
      releases: JSON.stringify(releases),
      erased_at: erasedAt,
    })
    .execute();
  return receipt;
}

/** Erases everything a device sent and revokes it. Throws `device/unknown`. */
export async function eraseDevice(db: Database, device: string): Promise<Receipt> {
  await needDevice(db, device);
  const receipt = await db.transaction().execute(async (tx) => {
    const rows = await tx.selectFrom('events').select('id').where('device', '=', device).execute();
    await tx
      .updateTable('devices')
      .set({ revoked_at: Date.now() })
      .where('id', '=', device)
      .where('revoked_at', 'is', null)
      .execute();
    return eraseEvents(
      tx,
      device,
      rows.map(({ id }) => id),
    );
  });
  return readReceipt(db, receipt);
}

/** A receipt as it stands now. Throws `erasure/unknown`. */
export async function readReceipt(db: Queries, id: string): Promise<Receipt> {
  const row = await db.selectFrom('receipts').selectAll().where('id', '=', id).executeTakeFirst();
  if (!row)
    throw new RapportError(
      'erasure/unknown',
      `There is no receipt ${id}.`,
      'Check the id; receipts are told once, when something is erased.',
    );
  const clean = await db
    .selectFrom('releases')
    .select('id')
    .where('created_at', '>', row.erased_at)
    .where('flagged_at', 'is', null)
    .orderBy('created_at')
    .executeTakeFirst();
  return {
    receipt: row.id,
    device: row.device,
    events: row.events,
    erasedAt: row.erased_at,
    datasets: JSON.parse(row.datasets) as string[],
    releases: JSON.parse(row.releases) as string[],
    cleanRelease: clean?.id ?? null,
  };
}

/** An erased judgement must not come back as the older one that it corrected. */
async function withCorrected(tx: Queries, ids: readonly string[]): Promise<string[]> {
  const all = new Set(ids);
  for (const id of all) {
    const row = await tx
      .selectFrom('events')
      .select(['supersedes', 'type'])
      .where('id', '=', id)
      .executeTakeFirst();
    if (row?.supersedes && row.type !== 'erase') all.add(row.supersedes);
  }
  return [...all];
}

/** Flags datasets, the releases trained on them, and the releases that go on from those. */
async function flag(tx: Queries, datasets: readonly string[], at: number): Promise<string[]> {
  if (datasets.length === 0) return [];
  await tx.updateTable('datasets').set({ flagged_at: at }).where('id', 'in', datasets).execute();
  const rows = await tx
    .selectFrom('releases')
    .select(['id', 'dataset', 'envelope'])
    .orderBy('created_at')
    .execute();
  const touched = new Set<string>();
  for (const { id, dataset, envelope } of rows) {
    const { parents } = (JSON.parse(envelope) as { signed: { parents: string[] } }).signed;
    const from = dataset === null ? [] : await datasetsUpTo(tx, dataset);
    const learned = from.some((id) => datasets.includes(id));
    if (learned || parents.some((parent) => touched.has(parent))) touched.add(id);
  }
  if (touched.size > 0)
    await tx
      .updateTable('releases')
      .set({ flagged_at: at })
      .where('id', 'in', [...touched])
      .where('flagged_at', 'is', null)
      .execute();
  return [...touched];
}
