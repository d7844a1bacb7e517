// Votes, rankings and their way out, as the page sees them.
import type { Chat } from '../chat/chat.svelte.ts';
import type { Database, Message } from '../db/database.ts';
import { Live } from '../db/live.svelte.ts';
import { discard, erase, saveRanking, saveVote, setShare, withdraw } from './judgement.ts';
import type { FeedbackRow, OutboxRow, OutboxState, Thumb } from './rows.ts';
import { Sender } from './sender.ts';

const STUCK_MS = 10 * 60_000;
const LOOK_EVERY_MS = 30_000;

export class Feedback {
  readonly #db: Database;
  readonly #sender: Sender;
  readonly #rows: Live<FeedbackRow[]>;
  readonly #outbox: Live<OutboxRow[]>;
  readonly #bySubject = $derived.by(
    () => new Map(this.#rows.value.map((row) => [row.subject, row])),
  );
  #now = $state(Date.now());
  #online = $state(navigator.onLine);
  /** The oldest event has waited for more than ten minutes while online. */
  readonly stuck = $derived.by(() => {
    const waiting = this.#outbox.value.filter(({ state }) => state === 'pending');
    return this.#online && waiting.some((row) => this.#now - waitingSince(row) > STUCK_MS);
  });
  /** Events that need the person. */
  readonly troubled = $derived.by(() => {
    const refused = this.#outbox.value.filter(({ state }) => state === 'rejected').length;
    return refused + (this.stuck ? 1 : 0);
  });

  constructor(db: Database, sender: Sender = new Sender(db)) {
    this.#db = db;
    this.#sender = sender;
    this.#rows = new Live(() => db.feedback.toArray(), []);
    this.#outbox = new Live(() => db.outbox.orderBy('id').reverse().toArray(), []);
  }

  /** Starts sending; call once. */
  start(): void {
    void this.#sender.lead(navigator.locks, new AbortController().signal);
    const wake = () => this.#sender.wake();
    addEventListener('online', () => {
      this.#online = true;
      wake();
    });
    addEventListener('offline', () => (this.#online = false));
    addEventListener('pagehide', () => void this.#sender.flush());
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') wake();
    });
    setInterval(() => (this.#now = Date.now()), LOOK_EVERY_MS);
    new Live(async () => {
      const waiting = await this.#db.outbox.where({ state: 'pending' }).count();
      if (waiting > 0) wake();
    }, undefined);
  }

  /** Everything in the outbox, newest first. */
  get outbox(): OutboxRow[] {
    return this.#outbox.value;
  }

  /** The judgement of a reply or of a group of alternates. */
  of(subject: string): FeedbackRow | undefined {
    return this.#bySubject.get(subject);
  }

  /** What became of a judgement: held here, waiting, shared, or refused. */
  fateOf(row: FeedbackRow): OutboxState | undefined {
    return this.#outbox.value.find(({ id }) => id === row.eventId)?.state;
  }

  async rate(reply: Message, thumb: Thumb): Promise<void> {
    await saveVote(this.#db, reply, thumb);
    void askToPersist();
  }

  async rank(group: string, replies: readonly Message[], ranks: readonly number[]): Promise<void> {
    await saveRanking(this.#db, group, replies, ranks);
    void askToPersist();
  }

  async withdraw(subject: string): Promise<void> {
    await withdraw(this.#db, subject);
  }

  /** Consent for the conversation on screen. */
  async share(chat: Chat, share: boolean): Promise<void> {
    await chat.setShare(share);
    await setShare(this.#db, chat.conversation.id, share);
    this.#sender.wake();
  }

  async discard(row: OutboxRow): Promise<void> {
    await discard(this.#db, row.id);
  }

  async erase(row: OutboxRow): Promise<void> {
    await erase(this.#db, row.id);
  }

  sendNow(): void {
    this.#sender.sendNow();
  }
}

/** Since when an event may leave: it may have been held for long before. */
const waitingSince = ({ pendingSince, createdAt }: OutboxRow): number => pendingSince ?? createdAt;

/** After the first judgement the browser is asked not to clear what is kept here. */
async function askToPersist(): Promise<void> {
  if (!(await navigator.storage?.persisted?.())) await navigator.storage?.persist?.();
}
