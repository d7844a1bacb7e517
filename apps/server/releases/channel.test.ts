import { sql } from 'kysely';
import { describe, expect, test } from 'vitest';
import { acceptChannel, acceptRelease, acceptRoot, type Root } from '@rapport/core';
import { temporaryFolder, temporaryStore } from '../store/test-store.ts';
import { temporaryContext } from '../test-context.ts';
import { writeAdapter } from '../trainer/peft.ts';
import { buildRelease } from './build.ts';
import { currentChannel, halt, offerCandidate, promote, rollback } from './channel.ts';
import { ensureKeys, newestRoot, readKeys, rootVersion } from './keys.ts';
import { modelOfClients, ownBase } from './model.ts';
import { addRelease, findRelease } from './registry.ts';
import { rotateKeys } from './rotate.ts';

const coded = (code: string) => expect.objectContaining({ code });

async function scene() {
  const context = await temporaryContext();
  const { db, dataFolder, blobs } = context;
  const release = async (number: number) => {
    const adapterFolder = `${dataFolder}/adapter-${number}`;
    const part = { a: Float32Array.of(number), b: Float32Array.of(number) };
    await writeAdapter(adapterFolder, { rank: 1, alpha: 1, targets: new Map([['model.q', part]]) });
    const base = await ownBase(db);
    const built = await buildRelease(blobs, {
      base,
      adapterFolder,
      tokenizerDigest: '0'.repeat(64),
    });
    return addRelease(db, dataFolder, built);
  };
  const root = async (): Promise<Root> => acceptRoot(null, (await newestRoot(db))!, Date.now());
  return { ...context, release, root };
}

describe('the channel', () => {
  test('is what a client accepts, and its version rises with every change', async () => {
    const { db, dataFolder, release, root } = await scene();
    const id = await release(1);
    const first = await acceptChannel(null, await currentChannel(db, dataFolder), await root());
    const offered = await offerCandidate(db, dataFolder, id, 5);
    const second = await acceptChannel(first, offered, await root());
    expect(second).toMatchObject({ stable: 'base', candidate: { release: id, percent: 5 } });
    const third = await acceptChannel(second, await promote(db, dataFolder, id), await root());
    expect(third).toMatchObject({ version: second.version + 1, stable: id });
    expect(third.candidate).toBeUndefined();
    const { envelope } = await findRelease(db, id.slice(0, 8));
    await acceptRelease(id, envelope, await root());
  });

  test('keeps the salt while a candidate grows, so that nobody loses it again', async () => {
    const { db, dataFolder, release } = await scene();
    const id = await release(1);
    const small = await offerCandidate(db, dataFolder, id, 1);
    const large = await promote(db, dataFolder, id, 25);
    expect(large.signed.candidate).toEqual({ ...small.signed.candidate, percent: 25 });
  });

  test('halted blocks the candidate and freezes the rest', async () => {
    const { db, dataFolder, release } = await scene();
    const id = await release(1);
    await offerCandidate(db, dataFolder, id, 25);
    expect((await halt(db, dataFolder)).signed).toMatchObject({ blocked: [id], freeze: true });
  });

  test('rolled back names what was stable before, in a higher version', async () => {
    const { db, dataFolder, release } = await scene();
    const [one, two] = [await release(1), await release(2)];
    await promote(db, dataFolder, one);
    const before = await promote(db, dataFolder, two);
    const after = await rollback(db, dataFolder);
    expect(after.signed).toMatchObject({ stable: one, blocked: [two] });
    expect(after.signed.version).toBe(before.signed.version + 1);
    expect((await rollback(db, dataFolder)).signed.stable).toBe('base');
    await expect(rollback(db, dataFolder)).rejects.toThrow(coded('release/no-earlier'));
  });

  test('changed by many at once loses no version', async () => {
    const { db, dataFolder } = await scene();
    await Promise.all(Array.from({ length: 8 }, () => halt(db, dataFolder)));
    expect((await currentChannel(db, dataFolder)).signed.version).toBe(8);
  });
});

test('rotated keys are followed by clients of the old root, and old releases stay good', async () => {
  const { db, dataFolder, release, root } = await scene();
  const id = await release(1);
  const pinned = await root();
  await rotateKeys(db, dataFolder);
  const renewed = await currentChannel(db, dataFolder);
  await expect(acceptChannel(null, renewed, pinned)).rejects.toThrow(coded('releases/unsigned'));
  const next = await acceptRoot(pinned, await rootVersion(db, 2), Date.now());
  await acceptChannel(null, renewed, next);
  await acceptRelease(id, (await findRelease(db, id)).envelope, next);
  const { envelope } = await findRelease(db, await release(2));
  await acceptRelease((await findRelease(db, await release(2))).id, envelope, next);
});

test('however often keys are rotated, clients follow and everything stays good', async () => {
  const { db, dataFolder, release, root } = await scene();
  const ids = [await release(1)];
  let pinned = await root();
  let channel = await acceptChannel(null, await currentChannel(db, dataFolder), pinned);
  for (let turn = 0; turn < 20; turn++) {
    const envelope = await rotateKeys(db, dataFolder);
    pinned = await acceptRoot(pinned, envelope, Date.now());
    channel = await acceptChannel(channel, await currentChannel(db, dataFolder), pinned);
    ids.push(await release(2 + turn));
    for (const id of ids) await acceptRelease(id, (await findRelease(db, id)).envelope, pinned);
  }
  expect(pinned.version).toBe(21);
});

test('a rotation that is broken off changes nothing', async () => {
  const { db, dataFolder, release, root } = await scene();
  const before = [await newestRoot(db), await currentChannel(db, dataFolder)];
  await sql
    .raw(`create trigger no before insert on channels begin select raise(abort, 'no'); end`)
    .execute(db);
  await expect(rotateKeys(db, dataFolder)).rejects.toThrow('no');
  await sql.raw(`drop trigger no`).execute(db);
  expect([await newestRoot(db), await currentChannel(db, dataFolder)]).toEqual(before);
  await promote(db, dataFolder, await release(1));
  await acceptChannel(null, await currentChannel(db, dataFolder), await root());
});

test('keys that two make at once are those of one of them', async () => {
  const [db, dataFolder] = [await temporaryStore(), await temporaryFolder()];
  const [one, two] = await Promise.all([ensureKeys(db, dataFolder), ensureKeys(db, dataFolder)]);
  expect(one).toEqual(two);
  const root = await acceptRoot(null, one, Date.now());
  await acceptChannel(null, await currentChannel(db, dataFolder), root);
});

test('clients load the base of the stable release', async () => {
  const { db, dataFolder, release } = await scene();
  expect(await modelOfClients(db, dataFolder)).toEqual(await ownBase(db));
  await promote(db, dataFolder, await release(1));
  expect((await modelOfClients(db, dataFolder)).name).toBe('tiny');
});

test('keys that are gone are missed by name', async () => {
  const { db } = await scene();
  await expect(readKeys(db, '/nowhere')).rejects.toThrow(coded('keys/missing'));
});

test('a folder that is no adapter is refused', async () => {
  const { db, blobs, dataFolder } = await scene();
  const parts = { base: await ownBase(db), adapterFolder: dataFolder, tokenizerDigest: '' };
  await expect(buildRelease(blobs, parts)).rejects.toThrow(coded('release/bad-adapter'));
});
