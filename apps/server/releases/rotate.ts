// New keys in one commit: the root that names them, the channel signed anew, and so the releases whose
// key the new root has no room for. Clients see the state before or the state after.
import { signDocument, type KeyPair, type Release, type Root, type Signed } from '@rapport/core';
import type { Database, Queries } from '../store/database.ts';
import { renewChannel } from './channel.ts';
import { ensureKeys, makeKeys, newestRoot, readKeys, rootOf, storeRoot } from './keys.ts';

/** So many keys of a role does a root name at most. */
const MOST_KEYS = 16;

/** New keys for every role; the new root is signed by the old root key and the new. Throws `keys/*`. */
export async function rotateKeys(db: Database, dataFolder: string): Promise<Signed<Root>> {
  await ensureKeys(db, dataFolder);
  return db.transaction().execute(async (tx) => {
    const before = (await newestRoot(tx))!.signed;
    const old = await readKeys(tx, dataFolder);
    const version = before.version + 1;
    const keys = await makeKeys(dataFolder, version);
    const next = rootOf(version, keys);
    // Releases signed by the keys before stay good.
    const kept = before.roles.release.keys.slice(0, MOST_KEYS - 1);
    next.roles.release.keys.push(...kept);
    for (const id of kept) next.keys[id] = before.keys[id]!;
    const root = await storeRoot(tx, before, next, [old.root, keys.root]);
    await signReleases(tx, next.roles.release.keys, keys.release);
    await renewChannel(tx, dataFolder);
    return root;
  });
}

/** Signs with `key` the releases that none of the `good` keys signed; their content and id stay. */
async function signReleases(db: Queries, good: readonly string[], key: KeyPair): Promise<void> {
  const rows = await db.selectFrom('releases').select(['id', 'envelope']).execute();
  for (const { id, envelope } of rows) {
    const { signed, signatures } = JSON.parse(envelope) as Signed<Release>;
    if (signatures.some((signature) => good.includes(signature.key))) continue;
    const anew = await signDocument(signed, [key]);
    await db
      .updateTable('releases')
      .set({ envelope: JSON.stringify(anew) })
      .where('id', '=', id)
      .execute();
  }
}
