import 'fake-indexeddb/auto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { keyPair, signDocument, toHex, type Channel, type KeyPair, type Root } from '@rapport/core';
import { openDatabase, type Database } from '../db/database.ts';
import { ServerFeed } from './release-feed.ts';

const DAY = 86_400_000;
const NOW = Date.now();
let db: Database;
let answers: Record<string, unknown>;
let online: boolean;
beforeEach(() => {
  db = openDatabase(`feed-${Math.random()}`);
  answers = {};
  online = true;
});
afterEach(() => db.delete());

const newKey = () => keyPair();

function rootOf(version: number, key: KeyPair): Root {
  const role = { keys: [key.id], threshold: 1 };
  const keys = { [key.id]: toHex(key.publicKey) };
  return {
    version,
    keys,
    roles: { root: role, release: role, channel: role },
    expires: NOW + DAY,
  };
}

const channelOf = (version: number, stable = 'base'): Channel => ({
  name: 'main',
  version,
  issued: NOW,
  expires: NOW + DAY,
  stable: stable as 'base',
  blocked: [],
  freeze: false,
});

async function answer(path: unknown): Promise<Response> {
  if (!online) throw new TypeError('offline');
  const body = answers[String(path)];
  return body === undefined ? new Response('', { status: 404 }) : Response.json(body);
}
const feed = () => new ServerFeed(db, answer as typeof fetch);

test('the first root is pinned, and a server with other keys is not believed afterwards', async () => {
  const [ours, theirs] = [await newKey(), await newKey()];
  answers['/v1/channel'] = {
    root: await signDocument(rootOf(1, ours), [ours]),
    channel: await signDocument(channelOf(1), [ours]),
  };
  expect((await feed().channel()).version).toBe(1);
  answers['/v1/channel'] = {
    root: await signDocument(rootOf(1, theirs), [theirs]),
    channel: await signDocument(channelOf(2), [theirs]),
  };
  await expect(feed().channel()).rejects.toMatchObject({ code: 'releases/root-version' });
});

test('roots that were missed are walked one by one', async () => {
  const keys = [await newKey(), await newKey(), await newKey()] as const;
  const roots = keys.map((key, i) => rootOf(i + 1, key));
  answers['/v1/channel'] = {
    root: await signDocument(roots[0], [keys[0]]),
    channel: await signDocument(channelOf(1), [keys[0]]),
  };
  await feed().channel();
  answers['/v1/root/2'] = await signDocument(roots[1], [keys[0], keys[1]]);
  answers['/v1/channel'] = {
    root: await signDocument(roots[2], [keys[1], keys[2]]),
    channel: await signDocument(channelOf(2), [keys[2]]),
  };
  expect((await feed().channel()).version).toBe(2);
});

test('an older channel is refused, and without a network the last one known is used', async () => {
  const key = await newKey();
  answers['/v1/channel'] = {
    root: await signDocument(rootOf(1, key), [key]),
    channel: await signDocument(channelOf(5), [key]),
  };
  await feed().channel();
  const old = await signDocument(channelOf(4), [key]);
  answers['/v1/channel'] = { root: await signDocument(rootOf(1, key), [key]), channel: old };
  await expect(feed().channel()).rejects.toMatchObject({ code: 'releases/channel-rollback' });
  online = false;
  expect((await feed().channel()).version).toBe(5);
});

test('a device keeps its bucket', async () => {
  const first = await feed().bucket('salt');
  expect(await feed().bucket('salt')).toBe(first);
  expect(first).toBeGreaterThanOrEqual(0);
  expect(first).toBeLessThan(1);
});
