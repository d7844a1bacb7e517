// A trial on the tiny checkpoint where memory runs out, on the processor and on a graphics device.
import { expect, test } from 'vitest';
import type { Runtime } from '@rapport/core';
import { tinyCheckpoint } from '../../../../tests/support/tiny-in-browser.ts';
import { startBackend } from './backend.ts';
import { askingForMemory } from './out-of-memory.ts';
import { trialOf } from './trial.ts';

const checkpoint = await tinyCheckpoint('llama-tied');
const { runtime } = await startBackend('wasm');
const { signal } = new AbortController();

/** The same runtime; its `at`-th run fails with `error`. */
function failing(at: number, error: Error): Runtime {
  let runs = 0;
  return {
    async load(graph, weights) {
      const session = await runtime.load(graph, weights);
      return {
        run: (feeds) => (++runs === at ? Promise.reject(error) : session.run(feeds)),
        dispose: () => session.dispose(),
      };
    },
  };
}

/** Each run takes no time at all, so that every size is tried. */
const around = { checkpoint, worked: () => 0, heapBytes: () => 1 };

test('while there is patience, larger runs are tried', async () => {
  const { runs, full } = await trialOf({ ...around, runtime }, signal);
  expect(runs.map(({ tokens }) => tokens)).toEqual([32, 32, 64, 128, 256, 512, 1024]);
  expect(full).toBe(false);
});

test('no run is begun that would take longer than a person may wait', async () => {
  let ms = 0;
  // A second for each look at the clock, of which a run has two.
  const { runs } = await trialOf({ ...around, runtime, worked: () => (ms += 1000) }, signal);
  expect(runs.map(({ tokens }) => tokens)).toEqual([32, 32, 64, 128]);
});

test('the graph runs on a graphics device, which is asked after each run whether it lacked memory', async () => {
  const { name, runtime: graphics } = await startBackend('webgpu');
  expect(name).toBe('WebGPU');
  let ms = 0;
  const place = { ...around, runtime: graphics, worked: () => (ms += 3000) };
  expect((await trialOf(place, signal)).runs).toHaveLength(2);
});

test('too little memory ends the trial with what was measured before', async () => {
  const lacking = failing(4, new Error('std::bad_alloc'));
  const { runs, full } = await trialOf({ ...around, runtime: lacking }, signal);
  expect(runs.map(({ tokens }) => tokens)).toEqual([32, 32, 64]);
  expect(full).toBe(true);
});

test('any other failure is not taken for that', async () => {
  const broken = failing(4, new Error('no such kernel'));
  await expect(trialOf({ ...around, runtime: broken }, signal)).rejects.toThrow('no such kernel');
});

test('a graphics device that lacks memory only says so when asked', async () => {
  const scopes: string[] = [];
  let runs = 0;
  const device = {
    pushErrorScope: (filter: string) => void scopes.push(filter),
    popErrorScope: async () => (scopes.pop(), ++runs === 3 ? { message: 'too big' } : null),
  };
  const graphics = askingForMemory(runtime, async () => device);
  const trial = await trialOf({ ...around, runtime: graphics }, signal);
  expect(trial.runs).toHaveLength(2);
  expect(trial.full).toBe(true);
  expect(scopes).toEqual([]);
});
