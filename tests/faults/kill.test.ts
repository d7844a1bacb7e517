import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { BatchAnswer } from '@rapport/core';
import { aVote } from '../../apps/server/store/test-store.ts';
import { startRapport, type Rapport } from '../support/rapport.ts';

type Vote = ReturnType<typeof aVote>;

let dataFolder: string;

beforeAll(async () => {
  dataFolder = await mkdtemp(join(tmpdir(), 'rapport-kill-'));
});

afterAll(() => rm(dataFolder, { recursive: true, force: true }));

async function enrol({ url }: Rapport): Promise<string> {
  const answer = await fetch(`${url}/v1/devices`, { method: 'POST', body: '{}', headers: json });
  expect(answer.status).toBe(201);
  return ((await answer.json()) as { token: string }).token;
}

async function post({ url }: Rapport, token: string, events: Vote[]): Promise<BatchAnswer> {
  const answer = await fetch(`${url}/v1/events`, {
    method: 'POST',
    body: JSON.stringify({ proto: 1, events }),
    headers: { ...json, authorization: `Bearer ${token}` },
  });
  if (answer.status !== 200) throw new Error(`HTTP ${answer.status}`);
  return (await answer.json()) as BatchAnswer;
}

const json = { 'content-type': 'application/json' };

/** Posts small batches until the server is gone; what it acknowledges goes into `acknowledged`. */
async function postUntilDead(rapport: Rapport, token: string, acknowledged: Vote[]) {
  try {
    for (;;) {
      const events = [aVote(), aVote(-1), aVote()];
      const { results } = await post(rapport, token, events);
      expect(results.map(({ status }) => status)).toEqual(['accepted', 'accepted', 'accepted']);
      acknowledged.push(...events);
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // fetch's word for a broken connection
  }
}

/** A while after the first acknowledgement: a busy machine may take its time until then. */
async function aWhileInto(acknowledged: readonly Vote[], lifeMs: number) {
  while (acknowledged.length === 0) await sleep(5);
  await sleep(lifeMs);
}

test('kill -9 at any moment loses no acknowledged event', async () => {
  let rapport = await startRapport({ dataFolder });
  const token = await enrol(rapport);
  for (const lifeMs of [0, 40, 130, 370]) {
    const acknowledged: Vote[] = [];
    const senders = [1, 2].map(() => postUntilDead(rapport, token, acknowledged));
    await aWhileInto(acknowledged, lifeMs);
    await rapport.kill();
    await Promise.all(senders);

    rapport = await startRapport({ dataFolder });
    for (let at = 0; at < acknowledged.length; at += 400) {
      const { results } = await post(rapport, token, acknowledged.slice(at, at + 400));
      expect(new Set(results.map(({ status }) => status))).toEqual(new Set(['duplicate']));
    }
  }
  expect(await rapport.stop()).toBe(0);
});

test('SIGTERM in the middle of traffic ends with 0 and keeps what was acknowledged', async () => {
  const rapport = await startRapport({ dataFolder });
  const token = await enrol(rapport);
  const acknowledged: Vote[] = [];
  const sender = postUntilDead(rapport, token, acknowledged);
  await aWhileInto(acknowledged, 100);
  expect(await rapport.stop()).toBe(0);
  await sender;

  const next = await startRapport({ dataFolder });
  const { results } = await post(next, token, acknowledged.slice(-400));
  expect(new Set(results.map(({ status }) => status))).toEqual(new Set(['duplicate']));
  await next.stop();
});
