// Makes the events that carry judgements to the server: provenance in, redaction done, spans kept.
import { FEEDBACK_VERSION, type FeedbackEvent } from '@rapport/core';
import type { Message } from '../db/database.ts';
import { uuidv7 } from '../db/uuid.ts';
import type { ChatTurn } from '../workers/inference.ts';
import { redact } from './redaction.ts';
import type { RedactedSpan, Thumb } from './rows.ts';

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
  const event = { ...envelope(releaseOf(reply), supersedes), type: 'vote' as const, body };
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
  const event = { ...envelope(releaseOf(replies[0]!), supersedes), type: 'ranking' as const, body };
  return { event, redacted: take.redacted };
}

/** Asks the server to delete what an earlier event carried. */
export function eraseEvent(eventId: string): Written {
  return { event: { ...envelope('base', eventId), type: 'erase', body: {} }, redacted: [] };
}

/** Tells that a release failed on this device; carries no text of the person. */
export function reportEvent(release: string, reason: string): Written {
  const body = { reason: reason.slice(0, 4000) };
  return { event: { ...envelope(release), type: 'release_report', body }, redacted: [] };
}

/** What stands around every body; consent is given later, when the row is freed. */
function envelope(release: string, supersedes?: string) {
  const now = Date.now();
  return {
    id: uuidv7(now),
    v: FEEDBACK_VERSION,
    at: now,
    release,
    consent: false,
    ...(supersedes && { supersedes }),
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

  /**
   * Token ids spell the text, so they stay here when something was taken out of it; and log-probs of
   * two speakers are of no use.
   */
  reply(reply: Message) {
    const text = this.text(reply.text);
    const { mixed, ...provenance } = reply.provenance!;
    if (mixed || text !== reply.text) Object.assign(provenance, { tokens: [], logprobs: [] });
    return { text, provenance };
  }
}
