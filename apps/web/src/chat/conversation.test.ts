import 'fake-indexeddb/auto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openDatabase, type Database } from '../db/database.ts';
import type { OutboxRow } from '../sync/rows.ts';
import {
  addPrompt,
  addReplies,
  blankConversation,
  DEFAULT_SETTINGS,
  markInterrupted,
  removeConversation,
  restoreConversation,
  streamingReplies,
  turnsOf,
} from './conversation.ts';

let db: Database;
beforeEach(() => void (db = openDatabase(`conversation-${Math.random()}`)));
afterEach(() => db.delete());

test('a conversation is stored with its first prompt, which also names it', async () => {
  const blank = blankConversation(DEFAULT_SETTINGS);
  const prompt = await addPrompt(db, blank, null, '  How do tides work?\nIn short.');
  expect(await db.conversations.get(blank.id)).toMatchObject({
    title: 'How do tides work?',
    head: prompt.id,
  });
});

test('a later prompt does not rename it', async () => {
  const blank = blankConversation(DEFAULT_SETTINGS);
  const first = await addPrompt(db, blank, null, 'First');
  await addPrompt(db, blank, first.id, 'Second');
  expect((await db.conversations.get(blank.id))!.title).toBe('First');
});

test('deleting can be undone completely', async () => {
  const blank = blankConversation(DEFAULT_SETTINGS);
  const prompt = await addPrompt(db, blank, null, 'Keep me');
  await addReplies(db, prompt, 2);
  await db.messages.toCollection().modify({ state: 'done' });
  const before = await db.messages.toArray();
  const removed = await removeConversation(db, blank.id);
  expect(await db.messages.count()).toBe(0);
  await restoreConversation(db, removed!);
  expect(await db.messages.toArray()).toEqual(before);
  expect(await db.conversations.count()).toBe(1);
});

test('a reply that was on its way when its conversation was deleted comes back as interrupted', async () => {
  const blank = blankConversation(DEFAULT_SETTINGS);
  const prompt = await addPrompt(db, blank, null, 'Hi');
  await addReplies(db, prompt, 1);
  const removed = await removeConversation(db, blank.id);
  await restoreConversation(db, removed!);
  expect((await db.messages.toArray()).map(({ state }) => state)).toEqual(['done', 'interrupted']);
});

test('judgements go with their conversation unless the server may have them, and come back', async () => {
  const blank = blankConversation(DEFAULT_SETTINGS);
  await addPrompt(db, blank, null, 'Hi');
  const rows: [string, Partial<OutboxRow>][] = [
    ['held', { state: 'held' }],
    ['pending', { state: 'pending' }],
    ['deferred', { state: 'deferred', tried: false }],
    ['rejected', { state: 'rejected', tried: false }],
    ['sent', { state: 'sent' }],
    ['tried', { state: 'pending', tried: true }],
    ['held again', { state: 'held', tried: true }],
    ['erasure', { state: 'pending', event: { type: 'erase' } as never }],
    ['elsewhere', { state: 'held', conversationId: 'another' }],
  ];
  for (const [id, row] of rows) {
    const event = { type: 'vote' } as never;
    const whole = { id, conversationId: blank.id, createdAt: 0, redacted: [], event, ...row };
    await db.outbox.add(whole as OutboxRow);
    const { conversationId } = whole;
    await db.feedback.add({ id, conversationId, subject: id, kind: 'vote', at: 0, eventId: id });
  }
  const removed = await removeConversation(db, blank.id);
  const left = ['elsewhere', 'erasure', 'held again', 'sent', 'tried'];
  expect(await db.outbox.orderBy('id').primaryKeys()).toEqual(left);
  expect(await db.feedback.orderBy('id').primaryKeys()).toEqual(left);
  await restoreConversation(db, removed!);
  expect(await db.outbox.count()).toBe(rows.length);
  expect(await db.feedback.count()).toBe(rows.length);
});

test('only replies that were on their way before are called interrupted', async () => {
  const prompt = await addPrompt(db, blankConversation(DEFAULT_SETTINGS), null, 'Hi');
  const [left, ended] = await addReplies(db, prompt, 2);
  const ids = await streamingReplies(db);
  await db.messages.update(ended!.id, { state: 'done' });
  const [begun] = await addReplies(db, prompt, 1);
  expect(await markInterrupted(db, ids)).toBe(1);
  const states = (await db.messages.bulkGet([left!, ended!, begun!].map(({ id }) => id))).map(
    (row) => row!.state,
  );
  expect(states).toEqual(['interrupted', 'done', 'streaming']);
});

test('the system prompt leads the turns only when there is one', async () => {
  const blank = blankConversation(DEFAULT_SETTINGS);
  const prompt = await addPrompt(db, blank, null, 'Hi');
  expect(turnsOf(DEFAULT_SETTINGS, [prompt])).toEqual([{ role: 'user', content: 'Hi' }]);
  const settings = { ...DEFAULT_SETTINGS, systemPrompt: ' Be brief. ' };
  expect(turnsOf(settings, [prompt])[0]).toEqual({ role: 'system', content: 'Be brief.' });
});
