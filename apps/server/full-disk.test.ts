import { sql } from 'kysely';
import { expect, test } from 'vitest';
import type { BatchAnswer } from '@rapport/core';
import { enrol } from './store/devices.ts';
import { countJudgements } from './store/events.ts';
import { aVote } from './store/test-store.ts';
import { appOf, temporaryContext } from './test-context.ts';

test('a store that is full asks to come again, keeps what it acknowledged, and takes the rest later', async () => {
  const { db, ...context } = await temporaryContext();
  const { app, log } = appOf({ db, ...context });
  const { token } = await enrol(db);
  const send = (events: unknown[]) =>
    app.request('/v1/events', {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify({ proto: 1, events }),
    });
  const statuses = async (response: Response) =>
    ((await response.json()) as BatchAnswer).results.map(({ status }) => status);
  const votes = (count: number) => Array.from({ length: count }, () => aVote());
  const kept = votes(20);
  expect(await statuses(await send(kept))).toEqual(kept.map(() => 'accepted'));

  const pages = await sql<{ page_count: number }>`pragma page_count`.execute(db);
  const most = (count: number) => sql.raw(`pragma max_page_count = ${count}`).execute(db);
  await most(pages.rows[0]!.page_count + 2);
  const refused = votes(100);
  const response = await send(refused);
  expect(response.status).toBe(503);
  expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
  expect(await response.json()).toMatchObject({ code: 'store/disk-full' });
  expect(log.at(-1)).toMatchObject({ level: 'error', error: expect.stringContaining('full') });
  expect(await countJudgements(db)).toMatchObject({ votes: 20 });

  await most(1 << 30);
  expect(await statuses(await send(kept))).toEqual(kept.map(() => 'duplicate'));
  expect(await statuses(await send(refused))).toEqual(refused.map(() => 'accepted'));
});
