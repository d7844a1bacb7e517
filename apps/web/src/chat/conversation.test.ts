import 'fake-indexeddb/auto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openDatabase, type Database } from '../db/database.ts';
import {
  addPrompt,
  addReplies,
  blankConversation,
  DEFAULT_SETTINGS,
  removeConversation,
  restoreConversation,
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
  const before = await db.messages.toArray();
  const removed = await removeConversation(db, blank.id);
  expect(await db.messages.count()).toBe(0);
  await restoreConversation(db, removed!);
  expect(await db.messages.toArray()).toEqual(before);
  expect(await db.conversations.count()).toBe(1);
});

test('the system prompt leads the turns only when there is one', async () => {
  const blank = blankConversation(DEFAULT_SETTINGS);
  const prompt = await addPrompt(db, blank, null, 'Hi');
  expect(turnsOf(DEFAULT_SETTINGS, [prompt])).toEqual([{ role: 'user', content: 'Hi' }]);
  const settings = { ...DEFAULT_SETTINGS, systemPrompt: ' Be brief. ' };
  expect(turnsOf(settings, [prompt])[0]).toEqual({ role: 'system', content: 'Be brief.' });
});
