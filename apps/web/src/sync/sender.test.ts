import 'fake-indexeddb/auto';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openDatabase, recall, type Database } from '../db/database.ts';
import { uuidv7 } from '../db/uuid.ts';
import type { OutboxRow, OutboxState } from './rows.ts';
import { Sender } from './sender.ts';

let db: Database;
beforeEach(() => void (db = openDatabase(`sender-${Math.random()}`)));
afterEach(() => db.delete());

async function put(state: OutboxState, count = 1, text = ''): Promise<string[]> {
  const rows = Array.from({ length: count }, (): OutboxRow => {
    const id = uuidv7();
    const event = { id, type: 'vote', v: 1, at: 0, release: 'base', consent: true, body: { text } };
    return { id, conversationId: 'c', state, createdAt: 0, event: event as never, redacted: [] };
  });
  await db.outbox.bulkAdd(rows);
  return rows.map(({ id }) => id);
}

type Fault = 'none' | 'drop' | 'timeout-after-commit' | 500 | 429 | 401 | 413;

/** A server that keeps what it acknowledges, with faults to order. */
class Server {
  stored = new Map<string, unknown>();
  enrolled = 0;
  posts = 0;
  minIntervalMs = 0;
  sizes: number[] = [];
  faults: Fault[] = [];
  statusOf: (id: string) => { status: string; code?: string } = () => ({ status: 'accepted' });

  fetch = async (path: unknown, init?: RequestInit): Promise<Response> => {
    if (path === '/v1/devices') {
      this.enrolled++;
      return Response.json({ device: `d${this.enrolled}`, token: 't' }, { status: 201 });
    }
    this.posts++;
    const fault = this.faults.shift() ?? 'none';
    if (fault === 'drop') throw new TypeError('network');
    if (typeof fault === 'number') {
      return new Response('', { status: fault, headers: { 'Retry-After': '7' } });
    }
    const { events } = JSON.parse(String(init!.body)) as { events: { id: string }[] };
    this.sizes.push(events.length);
    const results = events.map((event) => {
      const answer = this.statusOf(event.id);
      if (answer.status === 'accepted' && this.stored.has(event.id)) answer.status = 'duplicate';
      if (answer.status === 'accepted') this.stored.set(event.id, event);
      return { id: event.id, ...answer };
    });
    if (fault === 'timeout-after-commit') throw new TypeError('timeout');
    return Response.json({ results, minIntervalMs: this.minIntervalMs });
  };
}

/** Time that passes when it is told to. */
class Clock {
  ms = 0;
  /** How long each timer was set for. */
  waits: number[] = [];
  #timers: { at: number; run: () => void }[] = [];

  now = () => this.ms;

  setTimer = (run: () => void, ms: number) => {
    const timer = { at: this.ms + ms, run };
    this.waits.push(ms);
    this.#timers.push(timer);
    return () => void (this.#timers = this.#timers.filter((other) => other !== timer));
  };

  pass(ms: number): void {
    this.ms += ms;
    const due = this.#timers.filter(({ at }) => at <= this.ms);
    this.#timers = this.#timers.filter(({ at }) => at > this.ms);
    for (const { run } of due) run();
  }
}

function senderTo(server: Server, { now, setTimer } = new Clock()) {
  return new Sender(db, { fetch: server.fetch as never, random: () => 1, now, setTimer });
}

const soon = (check: () => unknown) => vi.waitFor(check, 20_000);

/** A sender that leads, once it waits for the first time. */
async function leading(server: Server, clock: Clock): Promise<Sender> {
  const sender = senderTo(server, clock);
  const locks = { request: (_: string, __: object, lead: () => Promise<void>) => lead() };
  void sender.lead(locks as never, new AbortController().signal);
  await soon(() => expect(clock.waits).toHaveLength(1));
  return sender;
}
const states = async () => (await db.outbox.toArray()).map(({ state }) => state);

test('only what is pending is sent, and each answer settles its own event', async () => {
  const server = new Server();
  await put('held');
  const [fine, wrong, newer] = await put('pending', 3);
  const answers: Record<string, { status: string; code?: string }> = {
    [wrong!]: { status: 'rejected', code: 'schema' },
    [newer!]: { status: 'deferred' },
  };
  server.statusOf = (id) => answers[id] ?? { status: 'accepted' };
  await senderTo(server).attempt();
  expect([...server.stored.keys()]).toEqual([fine]);
  expect((await states()).sort()).toEqual(['deferred', 'held', 'rejected', 'sent']);
  expect((await db.outbox.get(wrong!))!.code).toBe('schema');
});

test('nothing is enrolled or sent while nothing is pending', async () => {
  const server = new Server();
  await put('held', 3);
  await senderTo(server).attempt();
  expect([server.enrolled, server.posts]).toEqual([0, 0]);
});

test('a forgotten token is enrolled again', async () => {
  const server = new Server();
  server.faults = [401];
  await put('pending');
  const sender = senderTo(server);
  await sender.attempt();
  expect(await recall(db, 'device')).toBeUndefined();
  await sender.attempt();
  expect(server.enrolled).toBe(2);
  expect(await states()).toEqual(['sent']);
});

test('a batch that is too large is halved until it fits', async () => {
  const server = new Server();
  server.faults = [413, 413];
  await put('pending', 8);
  const sender = senderTo(server);
  while ((await states()).includes('pending')) await sender.attempt();
  expect(server.sizes[0]).toBe(2);
  expect(server.stored.size).toBe(8);
});

test('one event that is too large alone is refused visibly instead of blocking the rest', async () => {
  const server = new Server();
  server.faults = [413, 413];
  const [first] = await put('pending', 2);
  const sender = senderTo(server);
  while ((await states()).includes('pending')) await sender.attempt();
  expect(await db.outbox.get(first!)).toMatchObject({ state: 'rejected', code: 'too_large' });
  expect(server.stored.size).toBe(1);
});

test('Retry-After wins over the jitter', async () => {
  const server = new Server();
  server.faults = [429];
  await put('pending');
  expect(await senderTo(server).attempt()).toBe(7000);
});

test('a change does not cut short the wait that the server asked for; the person does', async () => {
  const server = new Server();
  server.faults = [429, 429];
  await put('pending');
  const clock = new Clock();
  const sender = await leading(server, clock);
  clock.pass(3000);
  sender.wake();
  await soon(() => expect(clock.waits).toEqual([7000, 4000]));
  expect(server.posts).toBe(1);
  sender.sendNow();
  await soon(() => expect(clock.waits).toEqual([7000, 4000, 7000]));
  expect(server.posts).toBe(2);
  clock.pass(7000);
  await soon(async () => expect(await states()).toEqual(['sent']));
});

test('what comes soon after a batch waits for as long as the server asked', async () => {
  const server = new Server();
  server.minIntervalMs = 5000;
  await put('pending');
  const clock = new Clock();
  const sender = await leading(server, clock);
  await put('pending');
  sender.wake();
  await soon(() => expect(clock.waits).toEqual([60_000, 5000]));
  expect(server.posts).toBe(1);
  clock.pass(5000);
  await soon(() => expect(server.posts).toBe(2));
});

test('a change ends the wait after a broken connection', async () => {
  const server = new Server();
  server.faults = ['drop'];
  await put('pending');
  const sender = await leading(server, new Clock());
  sender.wake();
  await soon(async () => expect(await states()).toEqual(['sent']));
});

test('what was tried is marked as long as the server may have it', async () => {
  const server = new Server();
  server.faults = ['drop'];
  const [fine, wrong, newer] = await put('pending', 3);
  const answers: Record<string, { status: string }> = {
    [wrong!]: { status: 'rejected' },
    [newer!]: { status: 'deferred' },
  };
  server.statusOf = (id) => answers[id] ?? { status: 'accepted' };
  const tried = async () =>
    (await db.outbox.bulkGet([fine!, wrong!, newer!])).map((row) => row!.tried);
  const sender = senderTo(server);
  await sender.attempt();
  expect(await tried()).toEqual([true, true, true]);
  await sender.attempt();
  expect(await tried()).toEqual([true, false, false]);
});

test('consent that is withdrawn while a request is under way holds back what was not taken', async () => {
  const server = new Server();
  const [taken, newer] = await put('pending', 2);
  server.statusOf = (id) => ({ status: id === newer ? 'deferred' : 'accepted' });
  const { fetch } = server;
  server.fetch = async (...call) => {
    const response = await fetch(...call);
    if (call[0] === '/v1/events') await db.outbox.toCollection().modify({ state: 'held' });
    return response;
  };
  await senderTo(server).attempt();
  expect(await db.outbox.get(taken!)).toMatchObject({ state: 'sent' });
  expect(await db.outbox.get(newer!)).toMatchObject({ state: 'held', tried: false });
});

test('waits grow from one second to five minutes and start over after a success', async () => {
  const server = new Server();
  server.faults = Array<Fault>(12).fill('drop');
  await put('pending');
  const sender = senderTo(server);
  const waits = [];
  for (let i = 0; i < 12; i++) waits.push(await sender.attempt());
  expect(waits.slice(0, 3)).toEqual([1000, 2000, 4000]);
  expect(waits.at(-1)).toBe(300_000);
  await sender.attempt();
  server.faults = ['drop'];
  await put('pending');
  expect(await sender.attempt()).toBe(1000);
});

test('whatever goes wrong, the queue drains once faults stop, and nothing is stored twice', async () => {
  const fault = fc.constantFrom<Fault>('none', 'drop', 'timeout-after-commit', 500, 429, 401, 413);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fault, { maxLength: 12 }),
      fc.integer({ min: 2, max: 9 }),
      async (faults, count) => {
        await db.outbox.clear();
        const server = new Server();
        server.faults = [...faults];
        const ids = await put('pending', count);
        let sender = senderTo(server);
        for (let i = 0; i < 60 && (await states()).includes('pending'); i++) {
          if (i % 5 === 4) sender = senderTo(server); // the tab was closed and another one leads
          await sender.attempt();
        }
        expect(await db.outbox.where({ state: 'pending' }).count()).toBe(0);
        const sent = await db.outbox.where({ state: 'sent' }).primaryKeys();
        for (const id of sent) expect(server.stored.has(id)).toBe(true);
        const refused = await db.outbox.where({ state: 'rejected' }).count();
        expect(sent.length + refused).toBe(ids.length);
      },
    ),
    { numRuns: 40 },
  );
});
