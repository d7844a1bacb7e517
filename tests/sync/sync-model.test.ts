import 'fake-indexeddb/auto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, expect, test, vi } from 'vitest';
import { FAULTS, World } from './world.ts';

afterEach(() => vi.useRealTimers());

const DAY_MS = 86_400_000;

const index = fc.nat(20);
const fault = fc.constantFrom(...FAULTS);
const act = fc.oneof(
  { weight: 5, arbitrary: fc.constant({ act: 'vote' } as const) },
  { weight: 8, arbitrary: fc.record({ act: fc.constant('tick' as const), fault }) },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('correct' as const), index }) },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('erase' as const), index }) },
  { weight: 2, arbitrary: fc.constant({ act: 'late' } as const) },
  fc.constant({ act: 'freeze' } as const),
  fc.constant({ act: 'crash' } as const),
  fc.constant({ act: 'open a tab' } as const),
  fc.record({ act: fc.constant('reload' as const), index }),
  fc.record({
    act: fc.constant('clock' as const),
    ms: fc.integer({ min: -40 * DAY_MS, max: 40 * DAY_MS }),
  }),
);
type Act = typeof act extends fc.Arbitrary<infer T> ? T : never;

async function perform(world: World, step: Act): Promise<void> {
  switch (step.act) {
    case 'vote':
      return world.vote();
    case 'tick':
      return world.tick(step.fault);
    case 'correct':
      return world.correct(step.index);
    case 'erase':
      return world.erase(step.index);
    case 'late':
      return world.lateArrives();
    case 'freeze':
      return world.freeze();
    case 'crash':
      return world.crash();
    case 'open a tab':
      return world.openTab();
    case 'reload':
      return world.reload(step.index);
    case 'clock':
      return void vi.setSystemTime(Date.now() + step.ms);
  }
}

/** What the person said and did not take back. */
const kept = (world: World) => world.judgements.filter(({ erased }) => !erased).map(({ id }) => id);

async function holds(world: World): Promise<void> {
  const { all } = await world.stored();
  const erased = new Set(world.judgements.filter((one) => one.erased).map(({ id }) => id));
  const missing = (await world.acknowledged()).filter((id) => !all.includes(id) && !erased.has(id));
  expect(missing, 'acknowledged and not stored').toEqual([]);
  expect(new Set(all).size, 'an id stored twice').toBe(all.length);
  expect(new Set(world.frozen()).size, 'an id in two datasets').toBe(world.frozen().length);
}

async function drains(world: World): Promise<void> {
  for (let tries = 0; tries < 6 && (await world.unsent()) > 0; tries++) await world.tick('none');
  expect(await world.unsent(), 'left in the queue').toBe(0);
  await world.lateArrives();
  const { all, current } = await world.stored();
  expect(all).toEqual(kept(world).sort());
  const stands = world.judgements.filter((one) => one.current).map(({ id }) => id);
  expect(current).toEqual(stands.sort());
}

test('whatever network, tabs and server do, each judgement is stored once or erased', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(act, { minLength: 5, maxLength: 40 }), async (steps) => {
      vi.useFakeTimers({ toFake: ['Date'] });
      const folder = await mkdtemp(join(tmpdir(), 'rapport-sync-'));
      const world = await World.open(folder);
      try {
        for (const step of steps) {
          await perform(world, step);
          await holds(world);
        }
        await drains(world);
        await holds(world);
      } finally {
        await world.close();
        await rm(folder, { recursive: true, force: true });
      }
    }),
    { numRuns: 40 },
  );
}, 180_000);
