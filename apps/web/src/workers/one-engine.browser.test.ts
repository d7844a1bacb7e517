// One engine over the real locks, channels and workers of a browser; each tab is a frame, which goes away as a tab does.
import { afterEach, expect, test } from 'vitest';
import type { SpeakRequest } from '@rapport/core';
import { finish } from './channel.ts';
import { Election } from './election.ts';
import { OneEngine, type Whereabouts } from './one-engine.ts';
import { startEngine, surroundings } from './start-inference.ts';

interface Frame {
  engine: OneEngine;
  where: () => Whereabouts;
  workers: Worker[];
  close: () => void;
}

const frames: Frame[] = [];
afterEach(() => frames.splice(0).forEach(({ close }) => close()));

async function openFrame(): Promise<Frame> {
  const element = document.body.appendChild(document.createElement('iframe'));
  const view = element.contentWindow as Window & typeof globalThis;
  const workers: Worker[] = [];
  const startWorker = (name: string) => {
    const url = new URL('./one-engine-test.worker.ts', import.meta.url);
    const worker = new Worker(url, { type: 'module', name });
    workers.push(worker);
    return worker;
  };
  const start = (events: Parameters<typeof startEngine>[1]) => startEngine(startWorker, events);
  let where: Whereabouts = { elsewhere: false };
  const election = new Election(crypto.randomUUID(), surroundings(view, start));
  const engine = new OneEngine(election, (now) => (where = { ...where, ...now }));
  const close = () => {
    workers.forEach((worker) => worker.terminate());
    element.remove();
  };
  const frame = { engine, workers, close, where: () => where };
  frames.push(frame);
  const manifest = { name: 'm', format: 'gguf' as const, digest: 'm', files: [] };
  await finish(engine.openModel({ manifest, backend: 'auto' }));
  return frame;
}

const count = (upTo: number): SpeakRequest => ({
  messages: [],
  samplings: [{ maxTokens: upTo } as SpeakRequest['samplings'][number]],
});

test('a frame that goes in mid-reply of another leaves it the rest to say', async () => {
  const host = await openFrame();
  const frame = await openFrame();
  expect(host.workers).toHaveLength(1);
  expect(frame.workers).toHaveLength(0);
  expect(frame.where().elsewhere).toBe(true);
  const said: number[] = [];
  const [reply] = await finish(frame.engine.speak(count(40)), ({ id }) => {
    said.push(id);
    if (id === 10) host.close();
  });
  expect(said).toEqual(Array.from({ length: 40 }, (_, id) => id));
  expect(reply!.tokens).toEqual(said);
  expect(frame.workers).toHaveLength(1);
  expect(frame.where().elsewhere).toBe(false);
});

test('a frame that goes in mid-reply of its own lets the engine answer others', async () => {
  const host = await openFrame();
  const frame = await openFrame();
  const endless = frame.engine.speak(count(1e6));
  await endless.next();
  frame.close();
  const said: number[] = [];
  await finish(host.engine.speak(count(3)), ({ id }) => said.push(id));
  expect(said).toEqual([0, 1, 2]);
});
