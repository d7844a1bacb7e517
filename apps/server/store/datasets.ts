// Snapshots of judgements for training. A snapshot marks the rows it takes, so that none is taken
// twice and none that commits late is ever passed over.
import { digestOf, RapportError, type Judgement } from '@rapport/core';
import type { Database, Queries } from './database.ts';
import { uuidv7 } from './uuid.ts';

export interface Dataset {
  id: string;
  digest: string;
  votes: number;
  rankings: number;
  edits: number;
  devices: number;
  createdAt: number;
  /** Something it held was erased since: what learned from it should be made anew. */
  flagged: boolean;
}

/** A judgement with its device, whose weight in training is limited. */
export type DatasetRow = Judgement & { id: string; device: string };

/** Takes every current judgement that no dataset has. Throws `dataset/empty`. */
export async function freezeDataset(db: Database): Promise<Dataset> {
  const id = uuidv7();
  await db.transaction().execute(async (tx) => {
    await tx
      .updateTable('events')
      .set({ snapshot_id: id })
      .where('snapshot_id', 'is', null)
      .where('superseded_by', 'is', null)
      .where('type', 'in', ['vote', 'ranking', 'edit'])
      .execute();
    const rows = await tx
      .selectFrom('events')
      .select(['device', 'id', 'type', 'hash'])
      .where('snapshot_id', '=', id)
      .orderBy('device')
      .orderBy('id')
      .execute();
    if (rows.length === 0) throw nothingNew();
    const count = (type: string) => rows.filter((row) => row.type === type).length;
    await tx
      .insertInto('datasets')
      .values({
        id,
        digest: await digestOf(rows.map(({ device, id, hash }) => [device, id, hash])),
        votes: count('vote'),
        rankings: count('ranking'),
        edits: count('edit'),
        devices: new Set(rows.map(({ device }) => device)).size,
        created_at: Date.now(),
        flagged_at: null,
      })
      .execute();
  });
  return findDataset(db, id);
}

const nothingNew = () =>
  new RapportError(
    'dataset/empty',
    'There is no vote or ranking that a dataset has not taken yet.',
    'Collect more feedback, or train on an earlier dataset (rapport dataset list).',
  );

/** Datasets, newest first. */
export async function listDatasets(db: Queries): Promise<Dataset[]> {
  const rows = await db
    .selectFrom('datasets')
    .selectAll()
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .execute();
  return rows.map(({ created_at, flagged_at, ...row }) => ({
    ...row,
    createdAt: created_at,
    flagged: flagged_at !== null,
  }));
}

/** The dataset of that id or digest, or the beginning of one. Throws `dataset/unknown`. */
export async function findDataset(db: Queries, name: string): Promise<Dataset> {
  const all = await listDatasets(db);
  const [found, second] = all.filter(
    ({ id, digest }) => id.startsWith(name) || digest.startsWith(name),
  );
  const exact = all.find(({ id }) => id === name);
  if (exact) return exact;
  if (found && !second) return found;
  throw new RapportError(
    'dataset/unknown',
    second ? `Several datasets begin with ${name}.` : `There is no dataset ${name}.`,
    'See rapport dataset list.',
  );
}

/** What is left of a dataset, in a fixed order. */
export async function datasetRows(db: Queries, id: string): Promise<DatasetRow[]> {
  const rows = await db
    .selectFrom('events')
    .select(['id', 'device', 'type', 'body'])
    .where('snapshot_id', '=', id)
    .orderBy('device')
    .orderBy('id')
    .execute();
  return rows.map(rowOf);
}

const rowOf = (row: { id: string; device: string; type: string; body: string }): DatasetRow => ({
  id: row.id,
  device: row.device,
  ...({ type: row.type, body: JSON.parse(row.body) } as Judgement),
});

/**
 * What a release trained on dataset `id` learns from: the current judgements of it and of every
 * dataset before it, since each release is trained from the base anew.
 */
export async function learnedRows(db: Queries, id: string): Promise<DatasetRow[]> {
  const upTo = await datasetsUpTo(db, id);
  const rows = await db
    .selectFrom('events')
    .select(['id', 'device', 'type', 'body'])
    .where('snapshot_id', 'in', upTo)
    .where('superseded_by', 'is', null)
    .orderBy('device')
    .orderBy('id')
    .execute();
  return rows.map(rowOf);
}

/** The dataset and all that were frozen before it; none for an unknown one. */
export async function datasetsUpTo(db: Queries, id: string): Promise<string[]> {
  const all = (await listDatasets(db)).map((dataset) => dataset.id).reverse();
  return all.slice(0, all.indexOf(id) + 1);
}

/** What two datasets hold apart and in common. */
export async function diffDatasets(db: Queries, a: string, b: string) {
  const [left, right] = [await findDataset(db, a), await findDataset(db, b)];
  const idsOf = async ({ id }: Dataset) => (await datasetRows(db, id)).map((row) => row.id);
  const [inLeft, inRight] = [new Set(await idsOf(left)), new Set(await idsOf(right))];
  const onlyA = [...inLeft].filter((id) => !inRight.has(id));
  const onlyB = [...inRight].filter((id) => !inLeft.has(id));
  return { a: left, b: right, onlyA, onlyB, both: inLeft.size - onlyA.length };
}
