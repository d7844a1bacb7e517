// What is kept of a person's judgements, and of the events that carry them to the server.
import type { FeedbackEvent } from '@rapport/core';

/** A thumb with what the person added to it. */
export interface Thumb {
  value: 1 | -1;
  reasons: string[];
  comment: string;
}

/** The current judgement of one subject: a vote on a reply, or a ranking of alternates. */
export interface FeedbackRow {
  id: string;
  conversationId: string;
  /** The message id of a vote, the group id of a ranking. */
  subject: string;
  kind: 'vote' | 'ranking';
  at: number;
  thumb?: Thumb;
  /** Competition ranks (1,2,2,4) of the replies, in the order of their ids. */
  ranking?: { messageIds: string[]; ranks: number[] };
  /** The newest event that says it. */
  eventId: string;
}

/**
 * `held` waits for consent and is never sent; `pending` waits for the network; `sent` was acknowledged;
 * `deferred` waits for a newer server; `rejected` was refused with a code and waits for the person.
 */
export type OutboxState = 'held' | 'pending' | 'sent' | 'deferred' | 'rejected';

/** A piece of text that was replaced before sending. */
export interface RedactedSpan {
  kind: 'email' | 'phone' | 'key' | 'number';
  original: string;
}

export interface OutboxRow {
  id: string;
  conversationId: string;
  state: OutboxState;
  createdAt: number;
  /** Since when it may leave; before that it was held. */
  pendingSince?: number;
  /** Exactly what is sent. */
  event: FeedbackEvent;
  /** What redaction took out; stays on the device. */
  redacted: RedactedSpan[];
  /** A request has carried it, and the server has not said that it did not keep it. */
  tried?: boolean;
  code?: string;
  sentAt?: number;
}

/** Whether the server may have the event: what it may have is erased there, the rest is simply dropped. */
export const mayBeThere = ({ state, tried }: OutboxRow): boolean =>
  state === 'sent' || tried === true;
