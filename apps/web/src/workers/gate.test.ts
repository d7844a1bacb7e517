import { expect, test } from 'vitest';
import { Graph, type Runtime } from '@rapport/core';
import { Gate, gated } from './gate.ts';

function counting() {
  const seen = { runs: 0 };
  const runtime: Runtime = {
    async load() {
      return {
        async run() {
          seen.runs++;
          return {};
        },
        async dispose() {},
      };
    },
  };
  return { runtime, seen };
}

const soon = () => new Promise((resolve) => setTimeout(resolve, 20));

test('a closed gate holds the next run back, an open one lets it go on', async () => {
  const { runtime, seen } = counting();
  const gate = new Gate();
  const session = await gated(runtime, gate, new AbortController().signal).load(
    new Graph(),
    () => [] as never,
  );
  await session.run({});
  gate.close();
  const second = session.run({});
  await soon();
  expect(seen.runs).toBe(1);
  gate.open();
  await second;
  expect(seen.runs).toBe(2);
  expect(gate.waitedMs).toBeGreaterThan(10);
});

test('work that waits at a closed gate can be aborted', async () => {
  const { runtime, seen } = counting();
  const gate = new Gate();
  const stop = new AbortController();
  const session = await gated(runtime, gate, stop.signal).load(new Graph(), () => [] as never);
  gate.close();
  const waiting = session.run({});
  setTimeout(() => stop.abort(), 5);
  await expect(waiting).rejects.toMatchObject({ name: 'AbortError' });
  expect(seen.runs).toBe(0);
});
