// Lets the model speak one reply, or several alternates in one batch, and keeps what it says while it
// says it: a crash loses at most the last fraction of a second.
import type { SamplingWithSeed, SpokenReply } from '@rapport/core';
import type { Database, Message, MessageState, Provenance } from '../db/database.ts';
import { errorNote } from '../db/error-note.ts';
import type { ChatTurn, Inference } from '../workers/inference.ts';

const KEEP_EVERY_MS = 400;

/** One reply to speak: its row exists already. */
export interface Voice {
  message: Message;
  sampling: SamplingWithSeed;
}

export interface Speech {
  turns: ChatTurn[];
  voices: Voice[];
  /** The release that speaks, as provenance records it. */
  release: { id: string; adapter: string | null };
  /** Called for each token with the text so far. */
  onText(messageId: string, text: string): void;
}

/** Streams the replies into their rows. Never throws: an error is written into the rows it ended. */
export async function speak(
  db: Database,
  inference: Pick<Inference, 'speak'>,
  speech: Speech,
  signal: AbortSignal,
): Promise<SpokenReply[]> {
  const drafts = speech.voices.map((voice) => new Draft(voice, speech.release));
  let keptAt = performance.now();
  try {
    const samplings = drafts.map((draft) => draft.remaining);
    const prefix = drafts.length === 1 ? drafts[0]!.provenance.tokens.slice() : [];
    const request = { messages: speech.turns, samplings, ...(prefix.length > 0 && { prefix }) };
    const run = inference.speak(request, signal);
    let step = await run.next();
    for (; !step.done; step = await run.next()) {
      const draft = drafts[step.value.index]!;
      draft.add(step.value);
      speech.onText(draft.id, draft.text);
      if (performance.now() - keptAt < KEEP_EVERY_MS) continue;
      keptAt = performance.now();
      // A write that fails half-way is no reason to stop: the last one decides.
      await keep(db, drafts).catch(() => undefined);
    }
    const replies = step.value;
    drafts.forEach((draft, i) => draft.end(replies[i]!));
    await keep(db, drafts);
    return replies;
  } catch (error) {
    drafts.forEach((draft) => draft.fail(error, signal.aborted));
    await keep(db, drafts);
    return [];
  }
}

async function keep(db: Database, drafts: Draft[]): Promise<void> {
  await db.messages.bulkUpdate(drafts.map((draft) => ({ key: draft.id, changes: draft.row() })));
}

/** A reply that is being spoken. */
class Draft {
  readonly id: string;
  readonly provenance: Provenance;
  readonly remaining: SamplingWithSeed;
  text: string;
  #state: MessageState = 'streaming';
  #timing: Message['timing'];
  #droppedTurns = 0;
  #error: Message['error'];

  constructor({ message, sampling }: Voice, release: Speech['release']) {
    const { seed, stop: _, ...settings } = sampling;
    const before = message.provenance;
    this.id = message.id;
    this.text = message.text;
    this.provenance = {
      release: release.id,
      adapter: release.adapter,
      sampling: settings,
      seed,
      tokens: [...(before?.tokens ?? [])],
      logprobs: [...(before?.logprobs ?? [])],
    };
    if (before && (before.mixed || !sameSpeaker(before, this.provenance))) {
      this.provenance.mixed = true;
    }
    // What was cut off has the rest of its allowance; one that was used up is given again.
    const used = this.provenance.tokens.length % settings.maxTokens;
    this.remaining = { ...sampling, maxTokens: settings.maxTokens - used };
  }

  add(token: { id: number; logprob: number; text: string }): void {
    this.provenance.tokens.push(token.id);
    this.provenance.logprobs.push(token.logprob);
    this.text += token.text;
  }

  end(reply: SpokenReply): void {
    const states = { stop: 'done', length: 'length', cancelled: 'stopped' } as const;
    this.#state = states[reply.finishReason];
    this.#timing = reply.timing;
    this.#droppedTurns = reply.droppedTurns ?? 0;
  }

  fail(error: unknown, stopped: boolean): void {
    if (this.#state !== 'streaming') return;
    this.#state = stopped ? 'stopped' : 'failed';
    if (!stopped) this.#error = errorNote(error);
  }

  row(): Partial<Message> {
    const { provenance, text } = this;
    const row: Partial<Message> = { text, state: this.#state, provenance: { ...provenance } };
    if (this.#timing) row.timing = this.#timing;
    if (this.#droppedTurns > 0) row.droppedTurns = this.#droppedTurns;
    if (this.#error) row.error = this.#error;
    return row;
  }
}

const sameSpeaker = (a: Provenance, b: Provenance) =>
  a.release === b.release &&
  a.adapter === b.adapter &&
  JSON.stringify(a.sampling) === JSON.stringify(b.sampling);
