// What the page remembers, as tables. Dexie is the truth; everything on screen is a view of it.
// Weights are not here: they lie in the origin's private file system under their digest.
import type { SamplingWithSeed } from '@rapport/core';
import { Dexie, type EntityTable } from 'dexie';
import type { ErrorNote } from './error-note.ts';
import type { FeedbackRow, OutboxRow } from '../sync/rows.ts';
import type { TrainingRun } from '../training/rows.ts';

/** How replies are sampled; the same names as in `core/generation` and in a vote's provenance. */
export type Sampling = Omit<SamplingWithSeed, 'seed' | 'stop'>;

export interface ConversationSettings {
  systemPrompt: string;
  sampling: Sampling;
  /** The same reply for the same prompt when set; otherwise each reply draws its own seed. */
  seed: number | null;
  /** Texts that a reply ends before. */
  stop?: string[];
}

export interface Conversation {
  id: string;
  title: string;
  /** False until the person names it: then the first prompt no longer does. */
  named: 0 | 1;
  createdAt: number;
  updatedAt: number;
  /** The last message of the branch on screen; null when nothing has been said. */
  head: string | null;
  settings: ConversationSettings;
  /** The person agreed to share the feedback of this conversation. */
  share: boolean;
}

/** Who spoke a reply and how: what a vote on it needs to be of use (sync-and-releases, provenance). */
export interface Provenance {
  release: string;
  adapter: string | null;
  sampling: Sampling;
  seed: number;
  tokens: number[];
  logprobs: number[];
  /** Continued by another release or with other settings: its log-probs are not those of one speaker. */
  mixed?: boolean;
}

export interface Timing {
  prefillMs: number;
  decodeMs: number;
  tokensPerSecond: number;
}

/**
 * `streaming` is being written now; `interrupted` was being written when the page went away;
 * `stopped` was stopped by the person; `length` met the limit of tokens; `failed` met an error.
 */
export type MessageState = 'done' | 'streaming' | 'interrupted' | 'stopped' | 'length' | 'failed';

export interface Message {
  id: string;
  conversationId: string;
  /** The message before this one on its branch; null for the first. */
  parentId: string | null;
  role: 'user' | 'assistant';
  text: string;
  createdAt: number;
  state: MessageState;
  /** Replies made together as alternates share a group. */
  group: string | null;
  provenance?: Provenance;
  timing?: Timing;
  /** Turns at the start of the chat that did not fit the model's context: it replied without them. */
  droppedTurns?: number;
  error?: ErrorNote;
}

/** One remembered value: a choice of the person, the device's enrolment, the pinned root. */
interface Remembered {
  key: string;
  value: unknown;
}

/** What a training run goes on from after a reload: `<run>/read` and `<run>/course`. */
interface Checkpoint {
  id: string;
  value: unknown;
}

export type Database = Dexie & {
  conversations: EntityTable<Conversation, 'id'>;
  messages: EntityTable<Message, 'id'>;
  feedback: EntityTable<FeedbackRow, 'id'>;
  outbox: EntityTable<OutboxRow, 'id'>;
  remembered: EntityTable<Remembered, 'key'>;
  trainings: EntityTable<TrainingRun, 'id'>;
  checkpoints: EntityTable<Checkpoint, 'id'>;
};

/** Opens (and at first makes) the database of this origin. */
export function openDatabase(name = 'rapport'): Database {
  const db = new Dexie(name) as Database;
  db.version(1).stores({
    conversations: 'id, updatedAt',
    messages: 'id, conversationId, state, group',
    feedback: 'id, conversationId, subject',
    outbox: 'id, state, conversationId, [conversationId+state]',
    remembered: 'key',
  });
  db.version(2).stores({ trainings: 'id, state', checkpoints: 'id' });
  return db;
}

/** A remembered value, or undefined. */
export async function recall<T>(db: Database, key: string): Promise<T | undefined> {
  return (await db.remembered.get(key))?.value as T | undefined;
}

/** Remembers `value` under `key`, over what was there. */
export async function remember(db: Database, key: string, value: unknown): Promise<void> {
  await db.remembered.put({ key, value });
}
