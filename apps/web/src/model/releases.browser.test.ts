// Following the channel in a real browser; the feed and the model's port are scripted.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openDatabase, type Database } from '../db/database.ts';
import { RapportError, type Channel, type Release } from '@rapport/core';
import type { AdapterRef, Inference } from '../workers/inference.ts';
import { Model } from './model.svelte.ts';
import { Releases } from './releases.svelte.ts';

const R1 = '1'.repeat(64);
const R2 = '2'.repeat(64);
const R9 = '9'.repeat(64);

const releaseOf = (id: string, base = 'base-digest'): Release => ({
  base: { name: 'm', format: 'gguf', digest: base, files: [] },
  adapter: { digest: `digest-${id}`, size: 4, rank: 8, alpha: 16, targets: [] },
  tokenizer: { digest: '' },
  chunks: { size: 1, sha256: [] },
  golden: { promptTokens: [1], top5: [], tolerance: 0.01 },
  evaluation: {},
  dataset: { digest: null, count: 212, devices: 9 },
  parents: [],
});

/** Stands at the model's port: remembers what was loaded, fails the golden test of `broken`. */
class Port {
  loaded: string[] = [];
  kept: string[] = [];
  broken = '';
  /** What is thrown in place of loading an adapter. */
  refusals: Record<string, Error> = {};
  async *fetchAdapter(_adapter: AdapterRef) {}
  async *useAdapter(adapter: AdapterRef | null) {
    const digest = adapter?.file.digest ?? 'none';
    if (this.refusals[digest]) throw this.refusals[digest];
    this.loaded.push(digest);
  }
  async *checkGolden() {
    if (this.loaded.at(-1) === `digest-${this.broken}`)
      throw new RapportError('model/golden-failed', 'The test failed.', 'Another is used.');
    return 0;
  }
  async *keepOnly(digests: string[]) {
    this.kept = digests;
  }
}

let db: Database;
let port: Port;
let model: Model;
let channel: Channel;
let announced: string[];
/** Base models of releases that are on another one than this page. */
let bases: Record<string, string>;

beforeEach(() => {
  db = openDatabase(`releases-${Math.random()}`);
  port = new Port();
  model = new Model(db, port as unknown as Inference);
  model.phase = 'ready';
  model.manifest = { name: 'm', format: 'gguf', digest: 'base-digest', files: [] };
  channel = channelOf(R1, Date.now() + 60_000);
  announced = [];
  bases = {};
});
afterEach(() => db.delete());

const channelOf = (stable: string, expires: number): Channel => ({
  name: 'main',
  version: 1,
  issued: 0,
  expires,
  stable,
  blocked: [],
  freeze: false,
});

function follow(): Releases {
  const feed = {
    channel: async () => channel,
    release: async (id: string) => releaseOf(id, bases[id]),
    bucket: async () => 0.5,
    mine: async () => 3,
  };
  return new Releases(db, model, feed, (what, release) =>
    announced.push(`${what} ${release?.id ?? ''}`.trim()),
  );
}

const { signal } = new AbortController();

/** The release that makes the next reply. */
async function nextSpeaker(): Promise<string> {
  let id = '';
  await model.speakWith(signal, async (speaker) => {
    id = speaker.id;
    return [];
  });
  return id;
}

const noMemory = () => new RapportError('runtime/memory', 'No memory.', 'Close other tabs.');

test('a new release is swapped in, says what it learned from, and only its files are kept', async () => {
  const releases = follow();
  await releases.look();
  expect(model.speaker).toEqual({ id: R1, adapter: `digest-${R1}` });
  expect(releases.learned).toEqual({ votes: 212, mine: 3 });
  expect(port.kept).toEqual([`digest-${R1}`]);
  expect(announced).toEqual([`new ${R1}`]);
});

test('while a reply is spoken nothing is swapped; the next reply has the new release', async () => {
  const releases = follow();
  const speakers: string[] = [];
  await model.speakWith(signal, async (speaker) => {
    await releases.look();
    speakers.push(speaker.id, model.speaker.id);
    return [];
  });
  await model.speakWith(signal, async (speaker) => {
    speakers.push(speaker.id);
    return [];
  });
  expect(speakers).toEqual(['base', 'base', R1]);
});

test('after a reload the same release speaks from the first reply, without a network', async () => {
  await follow().look();
  model.speaker = { id: 'base', adapter: null };
  const again = follow();
  channel = Promise.reject(new Error('offline')) as never;
  (channel as unknown as Promise<never>).catch(() => undefined);
  await again.restore();
  await again.look();
  expect(await nextSpeaker()).toBe(R1);
  expect(announced).toEqual([`new ${R1}`]);
});

test('a release that is not wanted any more when the reply ends is not swapped in', async () => {
  const releases = follow();
  await releases.look();
  await model.speakWith(signal, async () => {
    channel.stable = R2;
    await releases.look();
    channel.stable = R1;
    await releases.look();
    return [];
  });
  expect(await nextSpeaker()).toBe(R1);
});

test('a release that fails its golden test twice is left, and reported', async () => {
  port.broken = R2;
  const releases = follow();
  await releases.look();
  channel.stable = R2;
  await releases.look();
  expect(releases.problem).toMatchObject({ code: 'model/golden-failed' });
  await releases.look();
  await releases.look();
  expect(model.speaker.id).toBe(R1);
  expect(port.loaded.at(-1)).toBe(`digest-${R1}`);
  expect(await db.outbox.toArray()).toMatchObject([
    { state: 'held', event: { type: 'release_report', release: R2 } },
  ]);
});

test('a release that failed once and then spoke begins anew', async () => {
  const releases = follow();
  await releases.look();
  for (const broken of [R2, '', R2]) {
    port.broken = broken;
    channel.stable = R2;
    await releases.look();
    channel.stable = R1;
    await releases.look();
  }
  expect(await db.outbox.toArray()).toEqual([]);
  port.broken = '';
  channel.stable = R2;
  await releases.look();
  expect(model.speaker.id).toBe(R2);
});

test('a release for which there is no memory is not blamed: the one before speaks on until there is', async () => {
  const releases = follow();
  await releases.look();
  port.refusals = { [`digest-${R2}`]: noMemory() };
  channel.stable = R2;
  for (let i = 0; i < 3; i++) {
    await releases.look();
    expect(releases.problem).toMatchObject({ code: 'runtime/memory' });
    expect(await nextSpeaker()).toBe(R1);
    expect(port.loaded.at(-1)).toBe(`digest-${R1}`);
  }
  port.refusals = {};
  await releases.look();
  expect(await nextSpeaker()).toBe(R2);
  expect(releases.problem).toBeNull();
});

test('where the release before is gone too, the bare base speaks', async () => {
  const releases = follow();
  await releases.look();
  channel.stable = R2;
  port.refusals = { [`digest-${R1}`]: noMemory(), [`digest-${R2}`]: noMemory() };
  await releases.look();
  expect(await nextSpeaker()).toBe('base');
  expect(port.loaded.at(-1)).toBe('none');
});

test('a base that cannot be loaded leaves the release, and is tried again', async () => {
  const releases = follow();
  await releases.look();
  channel.blocked = [R1];
  port.refusals = { none: noMemory() };
  await releases.look();
  expect(await nextSpeaker()).toBe(R1);
  port.refusals = {};
  await releases.look();
  expect(await nextSpeaker()).toBe('base');
  expect(announced).toEqual([`new ${R1}`, 'halted']);
});

test('a disk that is full neither fails a release nor silences the replies after it', async () => {
  const releases = follow();
  const full = new DOMException('', 'QuotaExceededError');
  const put = vi.spyOn(db.remembered, 'put').mockRejectedValue(full);
  await releases.look();
  expect(await nextSpeaker()).toBe(R1);
  expect(port.loaded).toEqual([`digest-${R1}`]);
  expect(releases.problem).not.toBeNull();
  port.broken = R2;
  channel.stable = R2;
  await releases.look();
  expect(await nextSpeaker()).toBe(R1);
  expect(port.loaded.at(-1)).toBe(`digest-${R1}`);
  put.mockRestore();
});

test('a candidate on another base is left aside, and a stable release on one is named', async () => {
  bases = { [R9]: 'another-digest' };
  channel.candidate = { release: R9, percent: 100, salt: 'salt' };
  const releases = follow();
  await releases.look();
  expect(model.speaker.id).toBe(R1);
  channel.stable = R2;
  await releases.look();
  expect(model.speaker.id).toBe(R2);
  expect(releases.problem).toBeNull();
  delete channel.candidate;
  channel.stable = R9;
  await releases.look();
  expect(model.speaker.id).toBe(R2);
  expect(releases.problem).toMatchObject({ code: 'releases/other-base' });
});

test('a blocked release is unloaded to the bare base', async () => {
  const releases = follow();
  await releases.look();
  channel.blocked = [R1];
  await releases.look();
  expect(model.speaker).toEqual({ id: 'base', adapter: null });
  expect(announced).toEqual([`new ${R1}`, 'halted']);
});

test('an expired channel changes nothing but says so', async () => {
  const releases = follow();
  await releases.look();
  channel = channelOf(R9, Date.now() - 1);
  await releases.look();
  expect(releases.stale).toBe(true);
  expect(model.speaker.id).toBe(R1);
});

test('the release before speaks on request, and the one in use after it', async () => {
  const releases = follow();
  await releases.look();
  channel = channelOf(R2, Date.now() + 60_000);
  await releases.look();
  expect(port.kept).toEqual([`digest-${R2}`, `digest-${R1}`]);
  port.loaded = [];
  let spoke = '';
  await model.rival!(async (speaker) => {
    spoke = speaker.id;
    return [];
  });
  expect(spoke).toBe(R1);
  expect(port.loaded).toEqual([`digest-${R1}`, `digest-${R2}`]);
  expect(model.speaker.id).toBe(R2);
});

test('after a reload the release before is still known; a withdrawn one does not speak', async () => {
  await follow().look();
  channel = channelOf(R2, Date.now() + 60_000);
  await follow().look();
  const releases = follow();
  await releases.restore();
  const who = () => model.rival!(async ({ id }) => Promise.reject(new Error(id)));
  await expect(who()).rejects.toThrow(R1);
  channel = { ...channelOf(R2, Date.now() + 60_000), blocked: [R1] };
  await releases.look();
  await expect(who()).rejects.toThrow('withdrawn');
});
