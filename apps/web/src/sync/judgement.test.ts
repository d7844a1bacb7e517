import 'fake-indexeddb/auto';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { readEvent } from '@rapport/core';
import {
  addPrompt,
  addReplies,
  blankConversation,
  DEFAULT_SETTINGS,
} from '../chat/conversation.ts';
import { openDatabase, type Conversation, type Database, type Message } from '../db/database.ts';
import {
  discard,
  erase,
  reportRelease,
  saveRanking,
  saveVote,
  setShare,
  withdraw,
} from './judgement.ts';

const good = { value: 1, reasons: [], comment: '' } as const;
const bad = { value: -1, reasons: ['wrong'], comment: 'Mail me at a@b.example' } as const;
let db: Database;
let conversation: Conversation;
let replies: Message[];

beforeEach(async () => {
  db = openDatabase(`judgement-${Math.random()}`);
  conversation = blankConversation(DEFAULT_SETTINGS);
  const prompt = await addPrompt(db, conversation, null, 'Hello from me@home.example');
  replies = await addReplies(db, prompt, 3);
  const { sampling } = DEFAULT_SETTINGS;
  const provenance = { release: 'base', adapter: null, sampling, seed: 7 };
  for (const [i, reply] of replies.entries()) {
    const said = { text: `Reply ${i}`, state: 'done' as const };
    await db.messages.update(reply.id, {
      ...said,
      provenance: { ...provenance, tokens: [i, 2], logprobs: [-0.1, -0.2] },
    });
  }
  replies = await db.messages
    .bulkGet(replies.map(({ id }) => id))
    .then((rows) => rows as Message[]);
});
afterEach(() => db.delete());

const rate = (thumb: typeof good | typeof bad) =>
  saveVote(db, replies[0]!, { ...thumb, reasons: [...thumb.reasons] });
const outbox = () => db.outbox.orderBy('id').toArray();
const markSent = () => db.outbox.toCollection().modify({ state: 'sent' });
const markTried = () => db.outbox.toCollection().modify({ tried: true });

test('before consent a vote is held, and says so in itself', async () => {
  await rate(good);
  expect(await outbox()).toMatchObject([
    { state: 'held', event: { type: 'vote', consent: false } },
  ]);
});

test('consent frees what is held in this conversation, withdrawing it holds the rest back', async () => {
  await rate(good);
  await setShare(db, conversation.id, true);
  expect(await outbox()).toMatchObject([{ state: 'pending', event: { consent: true } }]);
  await setShare(db, conversation.id, false);
  expect(await outbox()).toMatchObject([{ state: 'held', event: { consent: false } }]);
  await setShare(db, 'another', true);
  expect(await outbox()).toMatchObject([{ state: 'held' }]);
});

test('an event waits from the moment it may leave', async () => {
  await rate(good);
  const anHourLater = Date.now() + 3_600_000;
  const clock = vi.spyOn(Date, 'now').mockReturnValue(anHourLater);
  await setShare(db, conversation.id, true);
  clock.mockRestore();
  expect((await outbox())[0]!.createdAt).toBeLessThan(anHourLater);
  expect(await outbox()).toMatchObject([{ pendingSince: anHourLater }]);
});

test('withdrawn consent also holds back what waits for a newer server', async () => {
  await setShare(db, conversation.id, true);
  await rate(good);
  await db.outbox.toCollection().modify({ state: 'deferred' });
  await setShare(db, conversation.id, false);
  expect(await outbox()).toMatchObject([{ state: 'held', event: { consent: false } }]);
});

test('a vote carries the prompt, the reply and its provenance', async () => {
  await rate(good);
  const [row] = await outbox();
  expect(row!.event.body).toMatchObject({
    prompt: [{ role: 'user', content: 'Hello from [email]' }],
    reply: { text: 'Reply 0', provenance: { release: 'base', seed: 7, tokens: [0, 2] } },
    value: 1,
  });
  expect(row!.redacted).toEqual([{ kind: 'email', original: 'me@home.example' }]);
});

test('tokens that spell a redacted text stay on the device', async () => {
  await rate(good);
  await withdraw(db, replies[0]!.id);
  await db.messages.update(replies[0]!.id, { text: 'Ask x@y.example' });
  const reply = (await db.messages.get(replies[0]!.id))!;
  await saveVote(db, reply, { value: 1, reasons: [], comment: '' });
  const [row] = await outbox();
  expect(row!.event.body).toMatchObject({
    reply: { text: 'Ask [email]', provenance: { tokens: [], logprobs: [] } },
  });
});

test('a reply that another release continued goes without its log-probs', async () => {
  const mixed = { ...replies[0]!, provenance: { ...replies[0]!.provenance!, mixed: true } };
  await saveVote(db, mixed, { value: 1, reasons: [], comment: '' });
  const [row] = await outbox();
  expect(row!.event.body).toMatchObject({
    reply: { text: 'Reply 0', provenance: { tokens: [], logprobs: [] } },
  });
  expect(readEvent({ ...row!.event, consent: true })).toHaveProperty('event');
});

test('changing a vote that never left replaces it', async () => {
  await rate(good);
  await rate(bad);
  const rows = await outbox();
  expect(rows).toHaveLength(1);
  expect(rows[0]!.event.supersedes).toBeUndefined();
  expect(rows[0]!.event.body).toMatchObject({ value: -1, comment: 'Mail me at [email]' });
  expect(await db.feedback.toArray()).toMatchObject([{ thumb: { value: -1 } }]);
});

test('changing a vote that was sent is a new event that supersedes it', async () => {
  await setShare(db, conversation.id, true);
  await rate(good);
  await markSent();
  await rate(bad);
  const [first, second] = await outbox();
  expect(second!.event.supersedes).toBe(first!.id);
  expect(second!.state).toBe('pending');
});

test('changing a vote that was refused replaces it, and corrects what was sent before', async () => {
  await setShare(db, conversation.id, true);
  await rate(good);
  await markSent();
  await rate(bad);
  const [first, second] = await outbox();
  await db.outbox.update(second!.id, { state: 'rejected', code: 'schema' });
  await rate(good);
  expect(await outbox()).toMatchObject([
    { id: first!.id },
    { state: 'pending', event: { supersedes: first!.id } },
  ]);
});

test.each([false, true])(
  'removing a vote that never left leaves no trace, shared: %s',
  async (share) => {
    await setShare(db, conversation.id, share);
    await rate(good);
    await withdraw(db, replies[0]!.id);
    expect(await outbox()).toEqual([]);
    expect(await db.feedback.count()).toBe(0);
  },
);

test.each([true, false])(
  'removing a vote that may have arrived erases it, still shared: %s',
  async (share) => {
    await setShare(db, conversation.id, true);
    await rate(good);
    await markTried();
    const [vote] = await outbox();
    await setShare(db, conversation.id, share);
    await withdraw(db, replies[0]!.id);
    expect(await outbox()).toMatchObject([
      { state: 'pending', event: { type: 'erase', supersedes: vote!.id } },
    ]);
  },
);

test('removing a vote that was sent erases it on the server, consent or not', async () => {
  await setShare(db, conversation.id, true);
  await rate(good);
  await markSent();
  const [sent] = await outbox();
  await setShare(db, conversation.id, false);
  await rate(bad);
  await withdraw(db, replies[0]!.id);
  expect(await outbox()).toMatchObject([
    { state: 'pending', event: { type: 'erase', supersedes: sent!.id } },
  ]);
});

test('what is erased on the server is forgotten here, with what it had corrected', async () => {
  await setShare(db, conversation.id, true);
  await rate(bad);
  await markSent();
  await rate(good);
  await markSent();
  const newest = (await outbox())[1]!;
  await erase(db, newest.id);
  const rows = await outbox();
  expect(rows).toMatchObject([{ event: { type: 'erase', supersedes: newest.id } }]);
  expect(JSON.stringify(rows)).not.toContain('Reply 0');
  expect(await db.feedback.count()).toBe(0);
});

test('a ranking keeps its ties and can be changed', async () => {
  const group = replies[0]!.group!;
  await saveRanking(db, group, replies, [1, 2, 2]);
  await saveRanking(db, group, replies, [2, 1, 2]);
  const rows = await outbox();
  expect(rows).toHaveLength(1);
  expect(rows[0]!.event).toMatchObject({
    type: 'ranking',
    body: {
      replies: [{ text: 'Reply 0' }, { text: 'Reply 1' }, { text: 'Reply 2' }],
      ranks: [2, 1, 2],
    },
  });
  expect(await db.feedback.toArray()).toMatchObject([
    { kind: 'ranking', ranking: { ranks: [2, 1, 2] } },
  ]);
});

test('a refused event can be discarded, a sent one erased', async () => {
  await setShare(db, conversation.id, true);
  await rate(good);
  const [row] = await outbox();
  await db.outbox.update(row!.id, { state: 'rejected', code: 'schema' });
  await discard(db, row!.id);
  expect(await outbox()).toEqual([]);
  await rate(good);
  await markSent();
  await erase(db, (await outbox())[0]!.id);
  expect((await outbox()).at(-1)!.event.type).toBe('erase');
  expect(await db.feedback.count()).toBe(0);
});

test('a crash between feedback and outbox cannot happen: both are written or neither', async () => {
  db.outbox.hook('creating', () => {
    throw new Error('disk full');
  });
  await expect(rate(good)).rejects.toThrow();
  expect(await db.feedback.count()).toBe(0);
});

test('every event that may leave is one that the server understands', async () => {
  await setShare(db, conversation.id, true);
  await rate(good);
  await markTried();
  await rate(bad);
  await saveVote(db, replies[1]!, { value: 1, reasons: [], comment: '' });
  await saveRanking(db, replies[0]!.group!, replies, [1, 2, 2]);
  await reportRelease(db, 'base', 'golden test failed');
  await withdraw(db, replies[0]!.id);
  for (const { event } of await outbox()) expect(readEvent(event)).toEqual({ event });
  expect(new Set((await outbox()).map(({ event }) => event.type))).toEqual(
    new Set(['vote', 'ranking', 'release_report', 'erase']),
  );
});
