// A real store in a temporary folder, and events for it.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { openDatabase, type Database } from './database.ts';
import { uuidv7 } from './uuid.ts';

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'rapport-test-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export async function temporaryStore(): Promise<Database> {
  const db = await openDatabase(await temporaryFolder());
  onTestFinished(() => db.destroy());
  return db;
}

const provenance = {
  release: 'base',
  adapter: null,
  sampling: { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, maxTokens: 64 },
  seed: 7,
  tokens: [1, 2],
  logprobs: [-0.5, -1],
};
const reply = (text: string) => ({ text, provenance });

const event = (type: string, body: unknown, more: Record<string, unknown>) => ({
  id: uuidv7(),
  type,
  v: 1,
  at: 1,
  release: 'base',
  consent: true,
  body,
  ...more,
});

export const aVote = (value: 1 | -1 = 1, more: Record<string, unknown> = {}) =>
  event(
    'vote',
    { prompt: [{ role: 'user', content: 'Hello' }], reply: reply(value > 0 ? 'Hi' : 'No'), value },
    more,
  );

export const aRanking = (
  ranks: readonly number[] = [1, 2, 2, 4],
  more: Record<string, unknown> = {},
) =>
  event(
    'ranking',
    {
      prompt: [{ role: 'user', content: 'Hello' }],
      replies: ranks.map((rank, i) => reply(`${rank}/${i}`)),
      ranks,
    },
    more,
  );

export const aReport = (release: string) =>
  event('release_report', { reason: 'the golden test failed' }, { release });

export const anErasure = (id: string) => event('erase', {}, { supersedes: id, consent: false });
