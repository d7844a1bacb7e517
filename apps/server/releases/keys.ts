// The keys that sign: one each for root, releases and channel, as files only the owner may read, and
// the chain of root documents that tells clients whose signatures count. The keys of root N lie in
// keys/N, so storing the root is the one step that puts new keys in force.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  acceptRoot,
  fromHex,
  keyPair,
  RapportError,
  signDocument,
  toHex,
  type KeyPair,
  type Role,
  type Root,
  type Signed,
} from '@rapport/core';
import type { Database, Queries } from '../store/database.ts';

const ROLES: Role[] = ['root', 'release', 'channel'];
const ROOT_LIFE_MS = 3 * 365 * 86_400_000;
const WARN_BEFORE_MS = 60 * 86_400_000;

export type RoleKeys = Record<Role, KeyPair>;

/** Makes the first keys and root unless there are some; gives the root in force. */
export async function ensureKeys(db: Database, dataFolder: string): Promise<Signed<Root>> {
  const known = await newestRoot(db);
  if (known) return known;
  // Under the store's write lock: of two that open a new folder at once, one makes them.
  return db.transaction().execute(async (tx) => {
    const meanwhile = await newestRoot(tx);
    if (meanwhile) return meanwhile;
    const keys = await makeKeys(dataFolder, 1);
    return storeRoot(tx, null, rootOf(1, keys), [keys.root]);
  });
}

/** The secret keys of the root in force. Throws `keys/missing`, `keys/mismatch`. */
export async function readKeys(db: Queries, dataFolder: string): Promise<RoleKeys> {
  const root = await newestRoot(db);
  const folder = join(dataFolder, 'keys', String(root?.signed.version ?? 1));
  const keys = await readFolder(folder);
  const strange = ROLES.filter(
    (role) => root && !root.signed.roles[role].keys.includes(keys[role].id),
  );
  if (strange.length === 0) return keys;
  throw new RapportError(
    'keys/mismatch',
    `The signing keys in ${folder} are not those of the newest root (${strange.join(', ')}).`,
    'Restore the keys folder and the store from the same backup.',
  );
}

/** The secret keys, when they are as they should be for a while. Throws `keys/*`. */
export async function checkKeys(db: Database, dataFolder: string): Promise<RoleKeys> {
  const keys = await readKeys(db, dataFolder);
  const { expires } = (await ensureKeys(db, dataFolder)).signed;
  if (expires - Date.now() > WARN_BEFORE_MS) return keys;
  throw new RapportError(
    'keys/expiring',
    `The root of the keys is good until ${new Date(expires).toISOString().slice(0, 10)}; clients then take no update.`,
    'Run rapport keys rotate.',
  );
}

async function readFolder(folder: string): Promise<RoleKeys> {
  try {
    const [rootKey, release, channel] = await Promise.all(
      ROLES.map(async (role) =>
        keyPair(fromHex((await readFile(join(folder, role), 'utf8')).trim())),
      ),
    );
    return { root: rootKey!, release: release!, channel: channel! };
  } catch (cause) {
    const found = existsSync(folder)
      ? (await readdir(folder)).join(', ') || 'nothing'
      : 'no folder';
    throw new RapportError(
      'keys/missing',
      `The signing keys in ${folder} cannot be read (found: ${found}).`,
      'Restore the keys folder from a backup, or run rapport keys init on a new data folder.',
      { cause },
    );
  }
}

/** The root in force, or undefined before `ensureKeys`. */
export async function newestRoot(db: Queries): Promise<Signed<Root> | undefined> {
  const row = await db
    .selectFrom('roots')
    .select('envelope')
    .orderBy('version', 'desc')
    .executeTakeFirst();
  return row && (JSON.parse(row.envelope) as Signed<Root>);
}

/** One root of the chain: clients that slept walk it one by one. */
export async function rootVersion(
  db: Database,
  version: number,
): Promise<Signed<Root> | undefined> {
  const row = await db
    .selectFrom('roots')
    .select('envelope')
    .where('version', '=', version)
    .executeTakeFirst();
  return row && (JSON.parse(row.envelope) as Signed<Root>);
}

/** New keys on the disk, of no meaning before a root of that version names them. */
export async function makeKeys(dataFolder: string, version: number): Promise<RoleKeys> {
  const folder = join(dataFolder, 'keys', String(version));
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const [root, release, channel] = await Promise.all(
    ROLES.map(async (role) => {
      const pair = await keyPair();
      await writeFile(join(folder, role), toHex(pair.secretKey), { mode: 0o600, flush: true });
      return pair;
    }),
  );
  return { root: root!, release: release!, channel: channel! };
}

/** A root that names `keys`, unsigned. */
export function rootOf(version: number, keys: RoleKeys): Root {
  const role = (name: Role) => ({ keys: [keys[name].id], threshold: 1 });
  return {
    version,
    keys: Object.fromEntries(ROLES.map((name) => [keys[name].id, toHex(keys[name].publicKey)])),
    roles: { root: role('root'), release: role('release'), channel: role('channel') },
    expires: Date.now() + ROOT_LIFE_MS,
  };
}

/** Puts `root` in force, signed by `signers`, when clients of the root `before` accept it. */
export async function storeRoot(
  db: Queries,
  before: Root | null,
  root: Root,
  signers: readonly KeyPair[],
): Promise<Signed<Root>> {
  const envelope = await signDocument(root, signers);
  await acceptRoot(before, envelope, Date.now());
  await db
    .insertInto('roots')
    .values({ version: root.version, envelope: JSON.stringify(envelope) })
    .execute();
  return envelope;
}
