// One device with its tabs, one server with its disk, and a network between them that does what a test
// says. The sender, the app and the store are the real ones; time and timers are the test's.
import { performance } from 'node:perf_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import { createApp } from '../../apps/server/app.ts';
import { openContext, type Context } from '../../apps/server/context.ts';
import { freezeDataset } from '../../apps/server/store/datasets.ts';
import { anErasure, aVote } from '../../apps/server/store/test-store.ts';
import { openDatabase, type Database } from '../../apps/web/src/db/database.ts';
import { Sender } from '../../apps/web/src/sync/sender.ts';

/** What may happen to one request. */
export const FAULTS = [
  'none',
  'drop',
  '500 before',
  '500 after',
  '429',
  'timeout after commit',
  'twice',
  'late',
  'crash before',
  'crash after',
  'reload',
] as const;
export type Fault = (typeof FAULTS)[number];

const PATIENCE_MS = 10_000;

interface Tab {
  sender: Sender;
  closing: AbortController;
  /** The one timer it waits for. */
  timer?: (() => void) | undefined;
}
interface Judgement {
  id: string;
  supersedes?: string | undefined;
  current: boolean;
  erased: boolean;
}

export class World {
  readonly #folder: string;
  readonly #page: Database = openDatabase(`model-${Math.random()}`);
  readonly #contexts: Context[] = [];
  readonly #late: (() => Promise<Response>)[] = [];
  readonly #frozen: string[][] = [];
  #tabs: Tab[] = [];
  #waiting: { tab: Tab; lead: () => void }[] = [];
  #leader: Tab | undefined;
  #fault: Fault = 'none';
  #nowMs = 0;
  #app!: ReturnType<typeof createApp>;
  readonly judgements: Judgement[] = [];

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async open(folder: string): Promise<World> {
    const world = new World(folder);
    await world.crash();
    world.openTab();
    await world.#quiet();
    return world;
  }

  /** The server's process is gone without a word; another one opens the same disk. */
  async crash(): Promise<void> {
    const context = await openContext(this.#folder);
    this.#contexts.push(context);
    this.#app = createApp(context, { log: () => {} });
  }

  openTab(): void {
    const tab: Tab = { closing: new AbortController(), sender: undefined as never };
    tab.sender = new Sender(this.#page, {
      fetch: (path, init) => this.#carry(tab, path as string, init!),
      random: () => 1,
      now: () => this.#nowMs,
      setTimer: (run, ms) => {
        tab.timer = () => {
          this.#nowMs += ms;
          run();
        };
        return () => (tab.timer = undefined);
      },
    });
    this.#tabs.push(tab);
    void tab.sender.lead(this.#locksOf(tab), tab.closing.signal);
  }

  /** A tab goes away as a reload does, in the middle of whatever it was at, and comes back. */
  async reload(index: number): Promise<void> {
    this.#close(this.#tabs[index % this.#tabs.length]!);
    this.openTab();
    await this.#quiet();
  }

  async vote(): Promise<void> {
    await this.#say(aVote());
  }

  async correct(index: number): Promise<void> {
    const old = this.#current(index);
    if (!old) return;
    old.current = false;
    await this.#say(aVote(-1, { supersedes: old.id }));
  }

  async erase(index: number): Promise<void> {
    const old = this.#current(index);
    if (!old) return;
    for (let gone: Judgement | undefined = old; gone; gone = this.#of(gone.supersedes))
      Object.assign(gone, { current: false, erased: true });
    await this.#put(anErasure(old.id));
  }

  /** The leading tab's timer rings; its next request meets `fault`. */
  async tick(fault: Fault): Promise<void> {
    this.#fault = fault;
    const ring = this.#leader!.timer!;
    this.#leader!.timer = undefined;
    ring();
    await this.#quiet();
    this.#fault = 'none';
  }

  /** A request that was long under way arrives, after newer ones. */
  async lateArrives(): Promise<void> {
    await this.#late.pop()?.();
  }

  async freeze(): Promise<void> {
    const { db } = this.#context;
    const dataset = await freezeDataset(db).catch((error: { code?: string }) => {
      if (error.code !== 'dataset/empty') throw error;
    });
    if (!dataset) return;
    const rows = await db
      .selectFrom('events')
      .select('id')
      .where('snapshot_id', '=', dataset.id)
      .execute();
    this.#frozen.push(rows.map(({ id }) => id));
  }

  /** Ids of judgements in the store, and of those that stand uncorrected. */
  async stored(): Promise<{ all: string[]; current: string[] }> {
    const rows = await this.#context.db
      .selectFrom('events')
      .select(['id', 'superseded_by'])
      .where('type', '!=', 'erase')
      .orderBy('id')
      .execute();
    return {
      all: rows.map(({ id }) => id),
      current: rows.filter((row) => row.superseded_by === null).map(({ id }) => id),
    };
  }

  /** What the page was told that the server has. */
  async acknowledged(): Promise<string[]> {
    const rows = await this.#page.outbox.where({ state: 'sent' }).toArray();
    return rows.filter(({ event }) => event.type !== 'erase').map(({ id }) => id);
  }

  unsent = (): Promise<number> => this.#page.outbox.where('state').notEqual('sent').count();

  /** Every id that a dataset took, as often as one did. */
  frozen = (): string[] => this.#frozen.flat();

  async close(): Promise<void> {
    for (const tab of [...this.#tabs]) this.#close(tab);
    await Promise.all(this.#contexts.map((context) => context.close()));
    await this.#page.delete();
  }

  get #context(): Context {
    return this.#contexts.at(-1)!;
  }

  async #say(event: ReturnType<typeof aVote>): Promise<void> {
    const { id, supersedes } = event as { id: string; supersedes?: string };
    this.judgements.push({ id, supersedes, current: true, erased: false });
    await this.#put(event);
  }

  async #put(event: ReturnType<typeof aVote>): Promise<void> {
    await this.#page.outbox.add({
      id: event.id,
      conversationId: 'c',
      state: 'pending',
      createdAt: 0,
      event: event as never,
      redacted: [],
    });
  }

  #current(index: number): Judgement | undefined {
    const current = this.judgements.filter((judgement) => judgement.current);
    return current[index % current.length];
  }

  #of = (id: string | undefined) => this.judgements.find((judgement) => judgement.id === id);

  async #carry(tab: Tab, path: string, init: RequestInit): Promise<Response> {
    const deliver = async () => this.#app.request(path, init);
    const fault = this.#fault;
    this.#fault = 'none';
    switch (fault) {
      case 'none':
        return deliver();
      case 'drop':
        throw new TypeError('network');
      case '500 before':
        return new Response('', { status: 500 });
      case '500 after':
        await deliver();
        return new Response('', { status: 500 });
      case '429':
        return new Response('', { status: 429, headers: { 'Retry-After': '1' } });
      case 'timeout after commit':
        await deliver();
        throw new TypeError('timeout');
      case 'twice':
        await deliver();
        return deliver();
      case 'late':
        this.#late.push(deliver);
        throw new TypeError('timeout');
      case 'crash before':
        await this.crash();
        throw new TypeError('connection reset');
      case 'crash after':
        await deliver();
        await this.crash();
        throw new TypeError('connection reset');
      case 'reload':
        await deliver();
        this.#close(tab);
        this.openTab();
        return new Promise(() => {});
    }
  }

  #locksOf(tab: Tab): Pick<LockManager, 'request'> {
    const request = (_name: string, _options: unknown, work: () => Promise<void>) =>
      new Promise<void>((done, failed) => {
        const lead = () => void work().then(done, failed);
        if (this.#leader) this.#waiting.push({ tab, lead });
        else {
          this.#leader = tab;
          lead();
        }
      });
    return { request } as never;
  }

  #close(tab: Tab): void {
    tab.timer = undefined;
    this.#tabs = this.#tabs.filter((other) => other !== tab);
    this.#waiting = this.#waiting.filter((other) => other.tab !== tab);
    tab.closing.abort();
    if (this.#leader !== tab) return;
    const next = this.#waiting.shift();
    this.#leader = next?.tab;
    next?.lead();
  }

  /** Until the leading tab waits for a timer again: there is always one. */
  async #quiet(): Promise<void> {
    const until = performance.now() + PATIENCE_MS;
    while (!this.#leader?.timer) {
      if (performance.now() > until) throw new Error('no timer is live');
      await turn();
    }
  }
}
