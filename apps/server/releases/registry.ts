// The releases this server has, and the base models behind them.
import {
  digestOf,
  RapportError,
  signDocument,
  type BaseModel,
  type Release,
  type Signed,
} from '@rapport/core';
import type { Database, Queries } from '../store/database.ts';
import { datasetsUpTo } from '../store/datasets.ts';
import type { ReleaseTable } from '../store/schema.ts';
import { readKeys } from './keys.ts';

export interface StoredRelease {
  id: string;
  envelope: Signed<Release>;
  dataset: string | null;
  run: string | null;
  createdAt: number;
  /** It learned from something that was erased since. */
  flagged: boolean;
}

/** The run a release comes from. */
export interface Origin {
  run: string;
  dataset: string;
  /** When the run was started: what was erased since was learned from all the same. */
  since: number;
  /** How many judgements of each device it learned from. */
  learned: ReadonlyMap<string, number>;
}

/** Signs a release and keeps it; the same content is the same release. */
export async function addRelease(
  db: Database,
  dataFolder: string,
  release: Release,
  origin?: Origin,
): Promise<string> {
  const id = await digestOf(release);
  await db.transaction().execute(async (tx) => {
    const { release: key } = await readKeys(tx, dataFolder);
    const envelope = await signDocument(release, [key]);
    const flagged = (await parentFlag(tx, release)) ?? (origin && (await datasetFlag(tx, origin)));
    await tx
      .insertInto('releases')
      .values({
        id,
        envelope: JSON.stringify(envelope),
        run: origin?.run ?? null,
        dataset: origin?.dataset ?? null,
        created_at: Date.now(),
        flagged_at: flagged ?? null,
      })
      .onConflict((conflict) => conflict.column('id').doNothing())
      .execute();
    for (const [device, judgements] of origin?.learned ?? [])
      await tx
        .insertInto('learned')
        .values({ release: id, device, judgements })
        .onConflict((conflict) => conflict.columns(['release', 'device']).doNothing())
        .execute();
  });
  return id;
}

/** How many judgements of `device` a release learned from. */
export async function learnedFrom(db: Queries, release: string, device: string): Promise<number> {
  const row = await db
    .selectFrom('learned')
    .select('judgements')
    .where('release', '=', release)
    .where('device', '=', device)
    .executeTakeFirst();
  return row?.judgements ?? 0;
}

/** What goes on from a flagged release has learned from the same. */
async function parentFlag(db: Queries, { parents }: Release): Promise<number | null> {
  if (parents.length === 0) return null;
  const row = await db
    .selectFrom('releases')
    .select('flagged_at')
    .where('id', 'in', parents)
    .where('flagged_at', 'is not', null)
    .executeTakeFirst();
  return row?.flagged_at ?? null;
}

/** What was erased while the run was under way is in the release, though in no dataset any more. */
async function datasetFlag(db: Queries, { dataset, since }: Origin): Promise<number | null> {
  const row = await db
    .selectFrom('datasets')
    .select('flagged_at')
    .where('id', 'in', await datasetsUpTo(db, dataset))
    .where('flagged_at', '>=', since)
    .executeTakeFirst();
  return row?.flagged_at ?? null;
}

/** Releases, newest first. */
export async function listReleases(db: Queries): Promise<StoredRelease[]> {
  const rows = await db.selectFrom('releases').selectAll().orderBy('created_at', 'desc').execute();
  return rows.map(storedOf);
}

const storedOf = (row: ReleaseTable): StoredRelease => ({
  id: row.id,
  envelope: JSON.parse(row.envelope) as Signed<Release>,
  dataset: row.dataset,
  run: row.run,
  createdAt: row.created_at,
  flagged: row.flagged_at !== null,
});

/** The release of that id, or the only one whose id begins with so many digits. Throws `release/unknown`. */
export async function findRelease(db: Queries, name: string): Promise<StoredRelease> {
  // The ids that begin with a name lie between it and the name with a g, which follows all digits.
  const found = /^[0-9a-f]{4,64}$/.test(name)
    ? await db
        .selectFrom('releases')
        .selectAll()
        .where('id', '>=', name)
        .where('id', '<', `${name}g`)
        .limit(2)
        .execute()
    : [];
  if (found.length === 1) return storedOf(found[0]!);
  throw new RapportError(
    'release/unknown',
    found.length > 1 ? `Several releases begin with ${name}.` : `There is no release ${name}.`,
    'See rapport release list.',
  );
}

/** Keeps the description of a base model. */
export async function addBase(db: Queries, base: BaseModel): Promise<void> {
  await db
    .insertInto('bases')
    .values({ digest: base.digest, manifest: JSON.stringify(base) })
    .onConflict((conflict) =>
      conflict.column('digest').doUpdateSet({ manifest: JSON.stringify(base) }),
    )
    .execute();
}

/** The base model of that digest. Throws `base/unknown`. */
export async function findBase(db: Queries, digest: string): Promise<BaseModel> {
  const row = await db
    .selectFrom('bases')
    .select('manifest')
    .where('digest', '=', digest)
    .executeTakeFirst();
  if (row) return JSON.parse(row.manifest) as BaseModel;
  throw new RapportError(
    'base/unknown',
    `The base model ${digest} is not known here.`,
    'Start the server with --model, or build the release again with --base.',
  );
}
