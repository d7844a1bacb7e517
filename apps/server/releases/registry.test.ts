import { expect, test } from 'vitest';
import { temporaryStore } from '../store/test-store.ts';
import { findRelease } from './registry.ts';

const unknown = (message: string) => expect.objectContaining({ code: 'release/unknown', message });

test('a release is found by its id or its beginning, whatever else is there', async () => {
  const db = await temporaryStore();
  const [id, twin] = [`abcd1${'0'.repeat(59)}`, `abcd2${'0'.repeat(59)}`];
  const row = { run: null, dataset: null, created_at: 1, flagged_at: null };
  await db
    .insertInto('releases')
    .values([
      { ...row, id, envelope: '{}' },
      // Read only when it is meant.
      { ...row, id: twin, envelope: 'no JSON' },
    ])
    .execute();
  expect((await findRelease(db, id)).id).toBe(id);
  expect((await findRelease(db, 'abcd1')).id).toBe(id);
  const several = unknown('Several releases begin with abcd.');
  await expect(findRelease(db, 'abcd')).rejects.toThrow(several);
  for (const name of ['abc', 'abce', 'ABCD1', '%bcd1', `${id}0`, ''])
    await expect(findRelease(db, name)).rejects.toThrow(unknown(`There is no release ${name}.`));
});
