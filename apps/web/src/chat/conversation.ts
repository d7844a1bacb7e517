// The acts on stored conversations, one transaction each. Nothing here is reactive: Dexie tells the view.
import type {
  Conversation,
  ConversationSettings,
  Database,
  Message,
  Sampling,
} from '../db/database.ts';
import { uuidv7 } from '../db/uuid.ts';
import { mayBeThere, type FeedbackRow, type OutboxRow } from '../sync/rows.ts';
import type { ChatTurn } from '../workers/inference.ts';

const DEFAULT_SAMPLING: Sampling = {
  temperature: 0.6,
  topK: 50,
  topP: 0.92,
  minP: 0,
  repetitionPenalty: 1.1,
  maxTokens: 512,
};

export const DEFAULT_SETTINGS: ConversationSettings = {
  systemPrompt: '',
  sampling: DEFAULT_SAMPLING,
  seed: null,
};

const TITLE_LENGTH = 60;

/** A conversation in which nothing has been said yet; it is stored with its first message. */
export function blankConversation(settings: ConversationSettings): Conversation {
  const now = Date.now();
  return {
    id: uuidv7(now),
    title: '',
    named: 0,
    createdAt: now,
    updatedAt: now,
    head: null,
    settings: structuredClone(settings),
    share: false,
  };
}

/** Adds a prompt after `parentId` with `count` empty replies to it, and puts the first on screen. */
export async function addPrompt(
  db: Database,
  conversation: Conversation,
  parentId: string | null,
  text: string,
): Promise<Message> {
  const prompt = newMessage(conversation.id, parentId, 'user', text);
  await db.transaction('rw', db.conversations, db.messages, async () => {
    const stored = (await db.conversations.get(conversation.id)) ?? conversation;
    await db.messages.add(prompt);
    const title = stored.title || titleFrom(text);
    await db.conversations.put({ ...stored, title, head: prompt.id, updatedAt: Date.now() });
  });
  return prompt;
}

/** Adds `count` empty replies to a prompt; more than one are a group of alternates. */
export async function addReplies(db: Database, prompt: Message, count: number): Promise<Message[]> {
  const group = count > 1 ? uuidv7() : null;
  const replies = Array.from({ length: count }, (): Message => {
    const reply = newMessage(prompt.conversationId, prompt.id, 'assistant', '');
    return { ...reply, state: 'streaming', group };
  }).sort((a, b) => (a.id < b.id ? -1 : 1));
  await db.transaction('rw', db.conversations, db.messages, async () => {
    await db.messages.bulkAdd(replies);
    const changes = { head: replies[0]!.id, updatedAt: Date.now() };
    await db.conversations.update(prompt.conversationId, changes);
  });
  return replies;
}

/** The turns that the model sees for a branch. */
export function turnsOf(settings: ConversationSettings, path: readonly Message[]): ChatTurn[] {
  const system = settings.systemPrompt.trim();
  const turns = path.map(({ role, text }): ChatTurn => ({ role, content: text }));
  return system ? [{ role: 'system', content: system }, ...turns] : turns;
}

/** Everything of a conversation, so that deleting it can be undone. */
export interface Removed {
  conversation: Conversation;
  messages: Message[];
  outbox: OutboxRow[];
  feedback: FeedbackRow[];
}

/**
 * Deletes a conversation with its messages and the judgements that never left, and gives all of it back for an undo.
 * What the server may have stays, so that it can be erased there.
 */
export async function removeConversation(db: Database, id: string): Promise<Removed | undefined> {
  const { conversations, messages, outbox, feedback } = db;
  return db.transaction('rw', conversations, messages, outbox, feedback, async () => {
    const conversation = await conversations.get(id);
    if (!conversation) return undefined;
    const ofIt = { conversationId: id };
    const unsent = (row: OutboxRow) => row.event.type !== 'erase' && !mayBeThere(row);
    const events = await outbox.where(ofIt).and(unsent).toArray();
    const eventIds = events.map((event) => event.id);
    const removed: Removed = {
      conversation,
      messages: await messages.where(ofIt).toArray(),
      outbox: events,
      feedback: await feedback
        .where(ofIt)
        .and(({ eventId }) => eventIds.includes(eventId))
        .toArray(),
    };
    await conversations.delete(id);
    await messages.where(ofIt).delete();
    await outbox.bulkDelete(eventIds);
    await feedback.bulkDelete(removed.feedback.map((row) => row.id));
    return removed;
  });
}

/** Undoes a removal. A reply that was being written then is not any more. */
export async function restoreConversation(db: Database, removed: Removed): Promise<void> {
  const { conversations, messages, outbox, feedback } = db;
  await db.transaction('rw', conversations, messages, outbox, feedback, async () => {
    await conversations.put(removed.conversation);
    await messages.bulkPut(
      removed.messages.map((message): Message =>
        message.state === 'streaming' ? { ...message, state: 'interrupted' } : message,
      ),
    );
    await outbox.bulkPut(removed.outbox);
    await feedback.bulkPut(removed.feedback);
  });
}

/** Ids of the replies that are being written, by whichever tab, or were when a page went away. */
export async function streamingReplies(db: Database): Promise<string[]> {
  return db.messages.where({ state: 'streaming' }).primaryKeys();
}

/** After a crash: those of `ids` that are still said to be written are interrupted, to be continued. */
export async function markInterrupted(db: Database, ids: readonly string[]): Promise<number> {
  return db.messages
    .where('id')
    .anyOf(ids)
    .and(({ state }) => state === 'streaming')
    .modify({ state: 'interrupted' });
}

function newMessage(
  conversationId: string,
  parentId: string | null,
  role: Message['role'],
  text: string,
): Message {
  const now = Date.now();
  const id = uuidv7(now);
  return { id, conversationId, parentId, role, text, createdAt: now, state: 'done', group: null };
}

function titleFrom(text: string): string {
  const line = text.trim().split('\n')[0]!;
  return line.length <= TITLE_LENGTH ? line : `${line.slice(0, TITLE_LENGTH - 1).trimEnd()}…`;
}
