// Carries the outbox to the server: one tab at a time, idempotent by id, with full jitter between tries
// and a timer that is always live. It sends what is `pending` and nothing else.
import type { BatchAnswer } from '@rapport/core';
import type { Database } from '../db/database.ts';
import { recall, remember } from '../db/database.ts';
import type { OutboxRow, OutboxState } from './rows.ts';

const BATCH = { most: 500, bytes: 900 * 1024, flushBytes: 60 * 1024 };
const RETRY_MS = { first: 1000, most: 5 * 60_000 };
const IDLE_MS = 60_000;
const SENDER_LOCK = 'rapport-sender';
/** What becomes of an event by the status that the server gives it. */
const STATES: Readonly<Record<string, OutboxState>> = {
  accepted: 'sent',
  duplicate: 'sent',
  tombstoned: 'sent',
  deferred: 'deferred',
  rejected: 'rejected',
};
/** Under which this device's enrolment is remembered. */
export const DEVICE_KEY = 'device';

/** This device as the server knows it. */
export interface Device {
  device: string;
  token: string;
}

export interface SenderSurroundings {
  fetch: typeof globalThis.fetch;
  random(): number;
  /** Milliseconds since some moment; never goes back. */
  now(): number;
  setTimer(run: () => void, ms: number): () => void;
}

export class Sender {
  readonly #db: Database;
  readonly #around: SenderSurroundings;
  #batchSize = BATCH.most;
  #failures = 0;
  /** Until when the server asked to be left alone. */
  #notBefore = 0;
  #leading = false;
  #wake: (() => void) | undefined;
  #woken = false;

  constructor(db: Database, around: SenderSurroundings = ofTheBrowser()) {
    this.#db = db;
    this.#around = around;
  }

  /** Sends for as long as the page lives, when this tab is the one that may. */
  async lead(locks: Pick<LockManager, 'request'>, signal: AbortSignal): Promise<void> {
    try {
      await locks.request(SENDER_LOCK, { signal }, () => this.#loop(signal));
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /**
   * Tries now instead of waiting: something was added, the network is back, the page is seen again. Waits on for as
   * long as the server asked.
   */
  wake(): void {
    this.#woken = true;
    this.#wake?.();
  }

  /** Tries now, whatever the server asked: the person wants it. */
  sendNow(): void {
    this.#notBefore = 0;
    this.wake();
  }

  /** One attempt; gives the milliseconds until the next. Never throws. */
  async attempt(): Promise<number> {
    try {
      if (!(await this.#hasMore())) return IDLE_MS;
      const device = await this.#device();
      const rows = await this.#takeBatch(this.#batchSize, BATCH.bytes);
      if (rows.length === 0) return IDLE_MS;
      const response = await this.#post(rows, device, false);
      return await this.#digest(rows, response);
    } catch {
      return this.#backOff();
    }
  }

  /** A last try while the page goes away; the answer is not waited for, ids make a repeat harmless. */
  async flush(): Promise<void> {
    if (!this.#leading || this.#around.now() < this.#notBefore) return;
    const device = await recall<Device>(this.#db, DEVICE_KEY);
    if (!device) return;
    const rows = await this.#takeBatch(this.#batchSize, BATCH.flushBytes);
    if (rows.length > 0) await this.#post(rows, device, true).catch(() => undefined);
  }

  async #loop(signal: AbortSignal): Promise<void> {
    this.#leading = true;
    await this.#reviveDeferred();
    while (!signal.aborted) {
      let waitMs = await this.attempt();
      do {
        await this.#sleep(waitMs, signal);
        this.#woken = false;
        waitMs = this.#notBefore - this.#around.now();
      } while (waitMs > 0 && !signal.aborted);
    }
    this.#leading = false;
  }

  /** A newer server may understand now what an older one could not. */
  async #reviveDeferred(): Promise<void> {
    await this.#db.outbox.where({ state: 'deferred' }).modify({ state: 'pending' });
  }

  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (this.#woken) return;
    await new Promise<void>((resolve) => {
      const cancel = this.#around.setTimer(resolve, ms);
      this.#wake = () => {
        cancel();
        resolve();
      };
      signal.addEventListener('abort', this.#wake);
    });
    signal.removeEventListener('abort', this.#wake!);
    this.#wake = undefined;
  }

  async #hasMore(): Promise<boolean> {
    return (await this.#db.outbox.where({ state: 'pending' }).count()) > 0;
  }

  /** What is sent next. It is marked before it leaves, so that whoever takes it back has it erased. */
  async #takeBatch(most: number, bytes: number): Promise<OutboxRow[]> {
    const { outbox } = this.#db;
    return this.#db.transaction('rw', outbox, async () => {
      const pending = await outbox.where({ state: 'pending' }).sortBy('id');
      let size = 0;
      const fitting = pending.slice(0, most).findIndex((row) => {
        size += new TextEncoder().encode(JSON.stringify(row.event)).length + 1;
        return size > bytes;
      });
      // One event that is too large alone still goes: the server's refusal makes it visible.
      const batch = pending.slice(0, fitting === -1 ? most : Math.max(1, fitting));
      const fresh = batch.filter(({ tried }) => !tried);
      await outbox.bulkUpdate(fresh.map(({ id }) => ({ key: id, changes: { tried: true } })));
      return batch;
    });
  }

  async #device(): Promise<Device> {
    const known = await recall<Device>(this.#db, DEVICE_KEY);
    if (known) return known;
    const response = await this.#around.fetch('/v1/devices', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: '{}',
    });
    if (response.status !== 201) throw new Error(`enrolment answered ${response.status}`);
    const { device, token } = (await response.json()) as Device;
    await remember(this.#db, DEVICE_KEY, { device, token });
    return { device, token };
  }

  #post(rows: OutboxRow[], device: Device, keepalive: boolean): Promise<Response> {
    return this.#around.fetch('/v1/events', {
      method: 'POST',
      keepalive,
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${device.token}` },
      body: JSON.stringify({ proto: 1, events: rows.map(({ event }) => event) }),
    });
  }

  async #digest(rows: OutboxRow[], response: Response): Promise<number> {
    if (response.ok) {
      const answer = (await response.json()) as BatchAnswer;
      await this.#settle(rows, answer);
      this.#failures = 0;
      this.#batchSize = Math.min(BATCH.most, this.#batchSize * 2);
      const pauseMs = this.#hold(Math.max(answer.minIntervalMs ?? 0, 50));
      return (await this.#hasMore()) ? pauseMs : IDLE_MS;
    }
    if (response.status === 401 || response.status === 403) {
      await this.#db.remembered.delete(DEVICE_KEY);
      return this.#backOff();
    }
    if (response.status === 413) return this.#halve(rows);
    return Math.max(this.#backOff(), this.#hold(retryAfterMs(response)));
  }

  /** Leaves the server alone for so long. */
  #hold(ms: number): number {
    this.#notBefore = this.#around.now() + ms;
    return ms;
  }

  async #halve(rows: OutboxRow[]): Promise<number> {
    if (rows.length > 1) {
      this.#batchSize = Math.max(1, Math.floor(rows.length / 2));
      return 0;
    }
    const refused = { state: 'rejected', code: 'too_large', tried: false } as const;
    await this.#db.outbox.update(rows[0]!.id, refused);
    return 0;
  }

  async #settle(rows: OutboxRow[], { results }: BatchAnswer): Promise<void> {
    const asked = new Set(rows.map(({ id }) => id));
    const known = new Map(
      results.flatMap(({ id, status, code }) => {
        const state = STATES[status];
        return id !== null && asked.has(id) && state ? [[id, { state, code }] as const] : [];
      }),
    );
    if (known.size === 0) throw new Error('no result for any event of the batch');
    await this.#db.outbox
      .where('id')
      .anyOf([...known.keys()])
      .modify((row) => {
        const { state, code } = known.get(row.id)!;
        row.tried = state === 'sent';
        // Consent that was withdrawn meanwhile holds back what is not there yet.
        if (!row.tried && row.state !== 'pending') return;
        Object.assign(row, { state, sentAt: Date.now(), ...(code && { code }) });
      });
  }

  #backOff(): number {
    const most = Math.min(RETRY_MS.most, RETRY_MS.first * 2 ** this.#failures++);
    return Math.max(50, this.#around.random() * most);
  }
}

function retryAfterMs(response: Response): number {
  const value = response.headers.get('Retry-After');
  if (!value) return 0;
  const seconds = Number(value);
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(value) - Date.now();
  return Math.min(Math.max(0, ms || 0), 60 * 60_000);
}

function ofTheBrowser(): SenderSurroundings {
  return {
    fetch: (...call) => fetch(...call),
    random: Math.random,
    now: () => performance.now(),
    setTimer(run, ms) {
      const timer = setTimeout(run, ms);
      return () => clearTimeout(timer);
    },
  };
}
