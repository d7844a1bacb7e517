// Makes the events that carry judgements to the server: provenance in, redaction done, spans kept.
import type { Message } from '../db/database.ts';
import { uuidv7 } from '../db/uuid.ts';
import type { ChatTurn } from '../workers/inference.ts';
import { redact } from './redaction.ts';
import type { RedactedSpan, Thumb } from './rows.ts';

export interface FeedbackEvent {
  id: string;
  type: 'vote' | 'ranking' | 'edit' | 'erase' | 'release_report';
  v: number;
  at: number;
  release: string;
  supersedes?: string;
  consent: boolean;
  body: unknown;
}

/** An event ready for the outbox, and what was taken out of it. */
export interface Written {
  event: FeedbackEvent;
  redacted: RedactedSpan[];
}

/** A vote on one reply. `supersedes` names the event it corrects. */
export function voteEvent(
  prompt: readonly ChatTurn[],
  reply: Message,
  thumb: Thumb,
  supersedes?: string,
): Written {
  const take = new Redactor();
  const body = {
    prompt: take.turns(prompt),
    reply: take.reply(reply),
    value: thumb.value,
    ...(thumb.reasons.length > 0 && { reasons: thumb.reasons }),
    ...(thumb.comment && { comment: take.text(thumb.comment) }),
  };
  const event = envelope({ type: 'vote', body }, releaseOf(reply), supersedes);
  return { event, redacted: take.redacted };
}

/** A ranking of alternates; `ranks[i]` belongs to `replies[i]`. */
export function rankingEvent(
  prompt: readonly ChatTurn[],
  replies: readonly Message[],
  ranks: readonly number[],
  supersedes?: string,
): Written {
  const take = new Redactor();
  const body = {
    prompt: take.turns(prompt),
    replies: replies.map((reply) => take.reply(reply)),
    ranks: [...ranks],
  };
  const event = envelope({ type: 'ranking', body }, releaseOf(replies[0]!), supersedes);
  return { event, redacted: take.redacted };
}

/** Asks the server to delete what an earlier event carried. */
export function eraseEvent(eventId: string): Written {
  return { event: envelope({ type: 'erase', body: {} }, 'base', eventId), redacted: [] };
}

/** Tells that a release failed on this device; carries no text of the person. */
export function reportEvent(release: string, reason: string): Written {
  return { event: envelope({ type: 'release_report', body: { reason } }, release), redacted: [] };
}

function envelope(
  { type, body }: Pick<FeedbackEvent, 'type' | 'body'>,
  release: string,
  supersedes?: string,
): FeedbackEvent {
  const now = Date.now();
  return {
    id: uuidv7(now),
    type,
    v: 1,
    at: now,
    release,
    ...(supersedes && { supersedes }),
    consent: false,
    body,
  };
}

const releaseOf = (reply: Message) => reply.provenance?.release ?? 'base';

/** Redacts the texts of one event and remembers what it took out. */
class Redactor {
  readonly redacted: RedactedSpan[] = [];

  text(text: string): string {
    const { text: clean, spans } = redact(text);
    this.redacted.push(...spans);
    return clean;
  }

  turns(turns: readonly ChatTurn[]): ChatTurn[] {
    return turns.map(({ role, content }) => ({ role, content: this.text(content) }));
  }

  /** Token ids spell the text, so they stay here when something was taken out of it. */
  reply(reply: Message) {
    const text = this.text(reply.text);
    const provenance = { ...reply.provenance! };
    if (text !== reply.text) Object.assign(provenance, { tokens: [], logprobs: [] });
    return { text, provenance };
  }
}
