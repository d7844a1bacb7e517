// A disk that is really full: a small file system of its own, where this machine lets us mount one.
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const script = fileURLToPath(new URL('../support/on-full-disk.ts', import.meta.url));

/** Runs shell words where `folder` is a file system of 4 MiB that nobody else sees. */
const mounted = (folder: string, words: string) => {
  const mount = `mount -t tmpfs -o size=4m none '${folder}' && ${words}`;
  return spawnSync('unshare', ['--map-root-user', '--mount', 'sh', '-c', mount], {
    encoding: 'utf8',
  });
};
const mayMount = mounted('/mnt', 'true').status === 0;

test.runIf(mayMount)(
  'on a full disk nothing is lost that was acknowledged, and no half file stays',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'rapport-full-'));
    const run = mounted(folder, `'${process.execPath}' --import tsx '${script}' '${folder}'`);
    expect(run.status, run.stderr).toBe(0);
    expect(JSON.parse(run.stdout)).toEqual({
      blob: 'store/disk-full',
      left: [],
      refusal: { status: 503, code: 'store/disk-full' },
      lost: 0,
      again: 200,
      added: 0,
    });
    await rm(folder, { recursive: true, force: true });
  },
);
