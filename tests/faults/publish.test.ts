// kill -9 in the middle of publishing: the channel is the one before or the one after, signed either way.
import { spawn } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ChannelSchema, verifySigned } from '@rapport/core';
import { openContext } from '../../apps/server/context.ts';
import { currentChannel } from '../../apps/server/releases/channel.ts';
import { newestRoot } from '../../apps/server/releases/keys.ts';
import { addRelease } from '../../apps/server/releases/registry.ts';

const command = fileURLToPath(new URL('../../apps/server/cli/rapport.mjs', import.meta.url));

let data: string;
let releases: string[];

beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), 'rapport-publish-'));
  const { db, close } = await openContext(data);
  const base = { name: 'tiny', format: 'gguf' as const, digest: '0'.repeat(64), files: [] };
  const release = (method: string) => ({
    base,
    tokenizer: { digest: '0'.repeat(64) },
    chunks: { size: 1 << 20, sha256: [] },
    evaluation: { method },
    dataset: { digest: null, count: 0, devices: 0 },
    parents: [],
  });
  releases = [
    await addRelease(db, data, release('one')),
    await addRelease(db, data, release('another')),
  ];
  await currentChannel(db, data);
  await close();
});

afterAll(() => rm(data, { recursive: true, force: true }));

/** Publishes in a process of its own, which is killed `afterMs` after it first writes to the store. */
function publishAndKill(release: string, afterMs: number): Promise<NodeJS.Signals | null> {
  const log = join(data, 'rapport.db-wal');
  const written = () => (existsSync(log) ? statSync(log).mtimeMs : 0);
  const before = written();
  const child = spawn(process.execPath, [command, 'release', 'publish', release, '--data', data]);
  const watch = setInterval(() => {
    if (written() === before) return;
    clearInterval(watch);
    setTimeout(() => child.kill('SIGKILL'), afterMs);
  }, 1);
  return new Promise((ended) =>
    child.once('close', (_code, signal) => {
      clearInterval(watch);
      ended(signal);
    }),
  );
}

async function channel() {
  const { db, close } = await openContext(data);
  try {
    const [envelope, root] = [await currentChannel(db, data), await newestRoot(db)];
    await verifySigned(envelope, ChannelSchema, 'channel', root!.signed);
    const { n } = await db
      .selectFrom('channels')
      .select(({ fn }) => fn.countAll<number>().as('n'))
      .executeTakeFirstOrThrow();
    expect(n).toBe(envelope.signed.version);
    return envelope.signed;
  } finally {
    await close();
  }
}

test('kill -9 while a release is published leaves the channel as it was, or changed, and whole', async () => {
  const ends = [];
  for (const afterMs of [0, 0, 1, 5]) {
    const before = await channel();
    const next = releases.find((id) => id !== before.candidate?.release)!;
    ends.push(await publishAndKill(next, afterMs));
    const after = await channel();
    const changed = { ...after, version: before.version, issued: 0, expires: 0 };
    const kept = { ...before, issued: 0, expires: 0 };
    if (after.version === before.version) expect(changed).toEqual(kept);
    else
      expect(after).toMatchObject({
        version: before.version + 1,
        stable: before.stable,
        candidate: { release: next, percent: 1 },
      });
  }
  expect(ends).toContain('SIGKILL');
});
