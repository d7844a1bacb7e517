// A person's judgements, saved: the feedback row and the outbox row in one transaction, in any tab.
// What is held waits for consent; what may have left the device is corrected or erased by a new event.
import type { Conversation, Database, Message } from '../db/database.ts';
import { uuidv7 } from '../db/uuid.ts';
import { turnsOf } from '../chat/conversation.ts';
import { pathTo } from '../chat/tree.ts';
import type { ChatTurn } from '../workers/inference.ts';
import { eraseEvent, rankingEvent, reportEvent, voteEvent, type Written } from './events.ts';
import {
  mayBeThere,
  type FeedbackRow,
  type OutboxRow,
  type OutboxState,
  type Thumb,
} from './rows.ts';

/** Rows that belong to no conversation: reports about releases. */
const NO_CONVERSATION = '';

/** Saves or changes the vote on a reply. */
export async function saveVote(db: Database, reply: Message, thumb: Thumb): Promise<void> {
  await inOneTransaction(db, async () => {
    const scene = await sceneOf(db, reply);
    const before = await db.feedback.get({ subject: reply.id });
    const supersedes = before && (await takeBack(db, before));
    const written = voteEvent(scene.prompt, reply, thumb, supersedes);
    await db.feedback.put({ ...rowFor(reply, reply.id, 'vote', written, before), thumb });
    await db.outbox.add(outboxRow(scene.conversation, written));
  });
}

/** Saves or changes the ranking of the alternates of a group; `ranks[i]` belongs to `replies[i]`. */
export async function saveRanking(
  db: Database,
  group: string,
  replies: readonly Message[],
  ranks: readonly number[],
): Promise<void> {
  await inOneTransaction(db, async () => {
    const scene = await sceneOf(db, replies[0]!);
    const before = await db.feedback.get({ subject: group });
    const supersedes = before && (await takeBack(db, before));
    const written = rankingEvent(scene.prompt, replies, ranks, supersedes);
    const ranking = { messageIds: replies.map(({ id }) => id), ranks: [...ranks] };
    await db.feedback.put({
      ...rowFor(replies[0]!, group, 'ranking', written, before),
      ranking,
    });
    await db.outbox.add(outboxRow(scene.conversation, written));
  });
}

/** Removes a judgement; what may have left the device is erased there too. */
export async function withdraw(db: Database, subject: string): Promise<void> {
  await inOneTransaction(db, async () => {
    const row = await db.feedback.get({ subject });
    if (!row) return;
    const left = await takeBack(db, row);
    await db.feedback.delete(row.id);
    if (left) await addErasure(db, row.conversationId, left);
  });
}

/** Asks the server to delete one event that it has, and forgets the judgement it carried. */
export async function erase(db: Database, eventId: string): Promise<void> {
  await inOneTransaction(db, async () => {
    const row = await db.outbox.get(eventId);
    if (!row) return;
    await db.feedback.filter((feedback) => feedback.eventId === eventId).delete();
    await addErasure(db, row.conversationId, eventId);
  });
}

/** Drops an event that never left, or that the server refused; the judgement itself goes with it. */
export async function discard(db: Database, eventId: string): Promise<void> {
  await inOneTransaction(db, async () => {
    await db.outbox.delete(eventId);
    await db.feedback.filter((feedback) => feedback.eventId === eventId).delete();
  });
}

/** Records consent for a conversation and frees, or holds back, what waits in it. */
export async function setShare(
  db: Database,
  conversationId: string,
  share: boolean,
): Promise<void> {
  const from: OutboxState[] = share ? ['held'] : ['pending', 'deferred'];
  await inOneTransaction(db, async () => {
    await db.conversations.update(conversationId, { share });
    await db.outbox
      .where('[conversationId+state]')
      .anyOf(from.map((state) => [conversationId, state]))
      .and((row) => row.event.type !== 'erase')
      .modify((row) => moveTo(row, share ? 'pending' : 'held'));
    if (!share) return;
    await db.outbox
      .where({ conversationId: NO_CONVERSATION, state: 'held' })
      .modify((row) => moveTo(row, 'pending'));
  });
}

/** Tells the server that a release failed here; held until the person has agreed to share something. */
export async function reportRelease(db: Database, release: string, reason: string): Promise<void> {
  await inOneTransaction(db, async () => {
    const agreed = await db.conversations.filter(({ share }) => share).first();
    const written = reportEvent(release, reason);
    await db.outbox.add(outboxRow({ id: NO_CONVERSATION, share: Boolean(agreed) }, written));
  });
}

function inOneTransaction(db: Database, act: () => Promise<void>): Promise<void> {
  return db.transaction('rw', db.conversations, db.messages, db.feedback, db.outbox, act);
}

interface Scene {
  conversation: Conversation;
  prompt: ChatTurn[];
}

async function sceneOf(db: Database, reply: Message): Promise<Scene> {
  const { conversationId } = reply;
  const conversation = (await db.conversations.get(conversationId))!;
  const rows = await db.messages.where({ conversationId }).toArray();
  const path = pathTo(new Map(rows.map((row) => [row.id, row])), reply.parentId);
  return { conversation, prompt: turnsOf(conversation.settings, path) };
}

/** Removes the event of a judgement if it never left; gives the id of the one that may have. */
async function takeBack(db: Database, { eventId }: FeedbackRow): Promise<string | undefined> {
  const row = await db.outbox.get(eventId);
  if (!row || mayBeThere(row)) return row?.id;
  await db.outbox.delete(row.id);
  return row.event.supersedes;
}

/** Has the server forget an event and those it corrected, as this device does; only the id is kept, to name it. */
async function addErasure(db: Database, conversationId: string, eventId: string): Promise<void> {
  for (let id: string | undefined = eventId; id;) {
    const row: OutboxRow | undefined = await db.outbox.get(id);
    await db.outbox.delete(id);
    id = row?.event.supersedes;
  }
  // Taking back needs no consent: it only ever makes the server know less.
  await db.outbox.add(outboxRow({ id: conversationId, share: true }, eraseEvent(eventId)));
}

function rowFor(
  reply: Message,
  subject: string,
  kind: FeedbackRow['kind'],
  { event }: Written,
  before: FeedbackRow | undefined,
): FeedbackRow {
  const { conversationId } = reply;
  const id = before?.id ?? uuidv7();
  return { id, conversationId, subject, kind, at: Date.now(), eventId: event.id };
}

function outboxRow(
  { id, share }: Pick<Conversation, 'id' | 'share'>,
  { event, redacted }: Written,
): OutboxRow {
  const row: OutboxRow = {
    id: event.id,
    conversationId: id,
    state: 'held',
    createdAt: Date.now(),
    event,
    redacted,
  };
  if (share) moveTo(row, 'pending');
  return row;
}

function moveTo(row: OutboxRow, state: OutboxState): void {
  row.state = state;
  if (state === 'pending') row.pendingSince = Date.now();
  row.event = { ...row.event, consent: state === 'pending' };
}
