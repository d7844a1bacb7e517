// When the outbox is sent, and when the person hears that it is not; the sender is scripted.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openDatabase, type Database } from '../db/database.ts';
import { Feedback } from './feedback.svelte.ts';
import type { OutboxRow } from './rows.ts';
import type { Sender } from './sender.ts';

const MINUTE = 60_000;

/** Counts what it is asked for. */
class Asked {
  wakes = 0;
  flushes = 0;
  lead = async () => {};
  wake() {
    this.wakes++;
  }
  async flush() {
    this.flushes++;
  }
}

let db: Database;
let asked: Asked;
let feedback: Feedback;

beforeEach(() => {
  db = openDatabase(`feedback-${Math.random()}`);
  asked = new Asked();
  feedback = new Feedback(db, asked as unknown as Sender);
});
afterEach(() => db.delete());

const row = (change: Partial<OutboxRow>): OutboxRow => ({
  id: `event-${Math.random()}`,
  conversationId: 'c',
  state: 'pending',
  createdAt: Date.now(),
  event: {} as never,
  redacted: [],
  ...change,
});

test('it is sent when something waits, when the network comes back and when the page is seen again', async () => {
  feedback.start();
  await db.outbox.add(row({ state: 'held' }));
  expect(asked.wakes).toBe(0);
  await db.outbox.add(row({}));
  await expect.poll(() => asked.wakes).toBeGreaterThan(0);
  for (const happens of [
    () => dispatchEvent(new Event('online')),
    () => document.dispatchEvent(new Event('visibilitychange')),
  ]) {
    const before = asked.wakes;
    happens();
    expect(asked.wakes).toBe(before + 1);
  }
  dispatchEvent(new Event('pagehide'));
  expect(asked.flushes).toBe(1);
});

test('what has been free to leave for more than ten minutes is said to be stuck, while online', async () => {
  feedback.start();
  const long = Date.now() - 11 * MINUTE;
  await db.outbox.add(row({ createdAt: long, pendingSince: Date.now() - 9 * MINUTE }));
  await expect.poll(() => feedback.outbox.length).toBe(1);
  expect(feedback.stuck).toBe(false);
  await db.outbox.add(row({ createdAt: long, pendingSince: long }));
  await expect.poll(() => feedback.stuck).toBe(true);
  expect(feedback.troubled).toBe(1);
  dispatchEvent(new Event('offline'));
  expect(feedback.stuck).toBe(false);
  dispatchEvent(new Event('online'));
  expect(feedback.stuck).toBe(true);
});
