// Several processes open a data folder that does not exist yet, all at once.
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { acceptChannel, acceptRoot } from '@rapport/core';
import { openContext } from '../../apps/server/context.ts';
import { currentChannel } from '../../apps/server/releases/channel.ts';
import { newestRoot } from '../../apps/server/releases/keys.ts';

const command = fileURLToPath(new URL('../../apps/server/cli/rapport.mjs', import.meta.url));
const run = promisify(execFile);

test('a new folder opened by several processes at once is made once, and all of them go on', async () => {
  const data = await mkdtemp(join(tmpdir(), 'rapport-fresh-'));
  onTestFinished(() => rm(data, { recursive: true, force: true }));
  const init = () =>
    run(process.execPath, [command, 'keys', 'init', '--data', join(data, 'new'), '--json']);
  const answers = await Promise.all([init(), init(), init(), init()]);
  const { db, dataFolder, close } = await openContext(join(data, 'new'));
  onTestFinished(close);
  const envelope = await newestRoot(db);
  for (const { stdout } of answers) expect(JSON.parse(stdout)).toEqual(envelope!.signed);
  const root = await acceptRoot(null, envelope, Date.now());
  await acceptChannel(null, await currentChannel(db, dataFolder), root);
});
