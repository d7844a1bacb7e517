// The keys that sign: one each for root, releases and channel, as files only the owner may read, and
// the chain of root documents that tells clients whose signatures count. The keys of root N lie in
// keys/N, so storing the root is the one step that puts new keys in force.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
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
import type { Database } from '../store/database.ts';

const ROLES: Role[] = ['root', 'release', 'channel'];
const ROOT_LIFE_MS = 3 * 365 * 86_400_000;

export type RoleKeys = Record<Role, KeyPair>;

/** Makes the first keys and root unless there are some; gives the root in force. */
export async function ensureKeys(db: Database, dataFolder: string): Promise<Signed<Root>> {
  const known = await newestRoot(db);
  if (known) return known;
  const keys = await makeKeys(dataFolder, 1);
  return storeRoot(db, await signDocument(rootOf(1, keys), [keys.root]));
}

/** New keys for every role; the new root is signed by the old root key and the new. */
export async function rotateKeys(db: Database, dataFolder: string): Promise<Signed<Root>> {
  const known = await newestRoot(db);
  if (!known) return ensureKeys(db, dataFolder);
  const old = await readKeys(db, dataFolder);
  const version = known.signed.version + 1;
  const keys = await makeKeys(dataFolder, version);
  const next = rootOf(version, keys);
  // Releases signed by the key before stay good.
  next.roles.release.keys.push(...known.signed.roles.release.keys);
  for (const id of known.signed.roles.release.keys) next.keys[id] = known.signed.keys[id]!;
  return storeRoot(db, await signDocument(next, [old.root, keys.root]));
}

/** The secret keys. Throws `keys/missing`. */
export async function readKeys(db: Database, dataFolder: string): Promise<RoleKeys> {
  const root = await newestRoot(db);
  const folder = join(dataFolder, 'keys', String(root?.signed.version ?? 1));
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
export async function newestRoot(db: Database): Promise<Signed<Root> | undefined> {
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

async function makeKeys(dataFolder: string, version: number): Promise<RoleKeys> {
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

function rootOf(version: number, keys: RoleKeys): Root {
  const role = (name: Role) => ({ keys: [keys[name].id], threshold: 1 });
  return {
    version,
    keys: Object.fromEntries(ROLES.map((name) => [keys[name].id, toHex(keys[name].publicKey)])),
    roles: { root: role('root'), release: role('release'), channel: role('channel') },
    expires: Date.now() + ROOT_LIFE_MS,
  };
}

async function storeRoot(db: Database, envelope: Signed<Root>): Promise<Signed<Root>> {
  await db
    .insertInto('roots')
    .values({ version: envelope.signed.version, envelope: JSON.stringify(envelope) })
    .execute();
  return envelope;
}
