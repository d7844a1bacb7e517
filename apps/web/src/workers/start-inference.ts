// Gives a tab its typed port to the engine that all tabs of this origin share, and starts the worker where it is hosted.
import { RapportError } from '@rapport/core';
import { connect } from './channel.ts';
import { Election, type EngineEvents, type StartedEngine, type Surroundings } from './election.ts';
import type { EngineNews, Inference, InferenceService } from './inference.ts';
import { OneEngine, type Whereabouts } from './one-engine.ts';

/** `tell` hears where the engine computes, whenever that changes. */
export function startInference(tell: (where: Whereabouts) => void): Inference {
  const start = (events: EngineEvents) => startEngine(startWorker, events);
  return new OneEngine(new Election(crypto.randomUUID(), surroundings(window, start)), tell);
}

/** The locks and channels of a window, which are let go when it goes. */
export function surroundings(
  view: Window & typeof globalThis,
  start: Surroundings['start'],
): Surroundings {
  return {
    start,
    open: (name) => new view.BroadcastChannel(name),
    hold: (name) =>
      new Promise<void>((held) => {
        void view.navigator.locks.request(name, () => {
          held();
          return new Promise(() => undefined);
        });
      }),
    wait: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  };
}

const startWorker = (name: string): Worker =>
  new Worker(new URL('./inference.worker.ts', import.meta.url), { type: 'module', name });

/** An engine in a worker, which `startWorker` starts under the name by which tabs write to it. */
export function startEngine(
  startWorker: (name: string) => Worker,
  events: EngineEvents,
): StartedEngine {
  const name = crypto.randomUUID();
  const worker = startWorker(name);
  let fail!: (error: Error) => void;
  let listening = false;
  const inference = connect<InferenceService>(worker, (told) => (fail = told));
  worker.addEventListener('message', ({ data }: MessageEvent<EngineNews>) => {
    if (data.kind === 'listening') {
      listening = true;
      events.listening();
    }
    if (data.kind === 'replace') events.replace(data.request);
  });
  worker.addEventListener('error', ({ message }) =>
    events.crashed(listening ? crashed(message) : notStarted(message)),
  );
  const end = (error: Error) => {
    worker.terminate();
    fail(error);
  };
  return { name, inference, end };
}

const crashed = (message: string) =>
  new RapportError(
    'workers/crashed',
    `The inference worker stopped: ${message || 'out of memory'}.`,
    'Try again; if it happens again, close other tabs first.',
  );

const notStarted = (message: string) =>
  new RapportError(
    'workers/not-started',
    `The inference worker did not start: ${message || 'its script did not arrive'}.`,
    'Check the network, then reload the page.',
  );
