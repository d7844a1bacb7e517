import { join } from 'node:path';
import { expect, test } from 'vitest';
import { modelOfClients, ownBase } from '../releases/model.ts';
import { anotherBase, contextWithVotes } from '../test-context.ts';
import { rapport } from './test-cli.ts';

test('train --model changes nothing for clients when it is refused', async () => {
  const context = await contextWithVotes();
  const { db, dataFolder, runs } = context;
  await anotherBase(context);
  const model = join(dataFolder, 'other.gguf');
  const tiny = await ownBase(db);
  const { id } = await runs.start({ config: { steps: 1 }, publish: 'stable' });
  await runs.wait(id);

  // As if another process were at it.
  const another = { owner_pid: process.ppid, alive_at: Date.now() };
  const under = (status: 'running' | 'done') =>
    db
      .updateTable('runs')
      .set({ ...another, status })
      .where('id', '=', id)
      .execute();
  await under('running');
  const busy = await rapport(dataFolder, 'train', '--model', model);
  expect([busy.code, busy.said]).toEqual([1, expect.stringContaining(`Run ${id} is under way`)]);

  await under('done');
  const beside = await rapport(dataFolder, 'train', '--model', model);
  expect([beside.code, beside.said.split('\n')]).toEqual([
    1,
    expect.arrayContaining([
      expect.stringContaining('stands on tiny'),
      expect.stringContaining('rapport release build --base'),
    ]),
  ]);
  expect([await ownBase(db), await modelOfClients(db, dataFolder)]).toEqual([tiny, tiny]);
  expect(await runs.list()).toHaveLength(1);
});
