// The training worker: it is started for one run, or one trial, and ended after it, since WASM memory never shrinks.
import {
  blobSource,
  buildTokenizer,
  RapportError,
  readPeft,
  sha256Hex,
  writePeft,
  type Adapter,
} from '@rapport/core';
import { openDatabase } from '../db/database.ts';
import { isNotFound, keepAwake, WeightStore } from '../model/weight-store.ts';
import { hasGraphics, startBackend } from './backend.ts';
import { serve, type Method } from './channel.ts';
import { survivingLoss } from './device-loss.ts';
import { Gate, gated } from './gate.ts';
import { watchHeap } from './heap.ts';
import type { AdapterRef } from './inference.ts';
import { openCheckpoint } from './open-checkpoint.ts';
import { isOutOfMemory } from './out-of-memory.ts';
import { USUAL_BUDGET, type Trial, type TrainingBackend } from './plan.ts';
import { teach, type Shelf, type Taught } from './teach.ts';
import type {
  TrainingNews,
  TrainingOrder,
  TrainingOutcome,
  TrainingService,
  TrialRequest,
} from './training.ts';
import { trialOf } from './trial.ts';
import { allowOwnScripts } from './trusted-scripts.ts';

allowOwnScripts();
keepAwake();
const gate = new Gate();

const service: TrainingService = {
  trial: (request, signal) => withRemedy(attempt(request, signal)),
  train: (order, signal) => withRemedy(train(order, signal)),

  async *hold(still) {
    if (still) gate.close();
    else gate.open();
  },
};

async function* attempt(
  { manifest, backend }: TrialRequest,
  signal: AbortSignal,
): AsyncGenerator<never, Trial | null> {
  if (backend === 'webgpu' && !(await hasGraphics())) return null;
  const heapBytes = watchHeap();
  const runtime = gated(await runtimeFor(backend), gate, signal);
  const { checkpoint } = await openFiles({ manifest, release: null });
  return { backend, ...(await trialOf({ checkpoint, runtime, worked, heapBytes }, signal)) };
}

async function* train(
  order: TrainingOrder,
  signal: AbortSignal,
): AsyncGenerator<TrainingNews, TrainingOutcome> {
  const startedMs = performance.now();
  yield { kind: 'stage', stage: 'opening', done: 0, of: 1 };
  const runtime = await runtimeFor(order.backend);
  const { checkpoint, release } = await openFiles(order);
  const tokenizer = await buildTokenizer(checkpoint.tokenizer);
  const lesson = { ...order, budgetTokens: order.budgetTokens ?? USUAL_BUDGET };
  const classroom = {
    checkpoint,
    tokenizer,
    release,
    worked,
    shelf: shelfOf(order.id),
  };
  const { adapter, comparison, tokensTrained, stopped } = yield* survivingLoss<
    TrainingNews,
    Taught
  >(
    (on) => teach(lesson, { ...classroom, runtime: gated(on, gate, signal) }, signal),
    runtime,
    () => runtimeFor('wasm'),
    { kind: 'device-lost' },
  );
  return {
    adapter: await keep(adapter),
    comparison,
    tokensTrained,
    seconds: (performance.now() - startedMs) / 1000,
    ...(stopped && { stopped: stopped.code }),
  };
}

const runtimeFor = async (backend: TrainingBackend) => (await startBackend(backend)).runtime;

/** Milliseconds of work done: waiting for the chat is none. */
const worked = () => performance.now() - gate.waitedMs;

/** Progress in the database, where a reload finds it. */
function shelfOf(run: string): Shelf {
  const { checkpoints } = openDatabase();
  return {
    load: async <T>(name: string) => (await checkpoints.get(`${run}/${name}`))?.value as T,
    save: async (name, value) => void (await checkpoints.put({ id: `${run}/${name}`, value })),
  };
}

/** A file that is gone is named; ONNX Runtime says in many words that a page has no memory left. */
async function* withRemedy<Y, R>(run: AsyncGenerator<Y, R>): AsyncGenerator<Y, R> {
  try {
    return yield* run;
  } catch (error) {
    if (isNotFound(error)) throw fileGone();
    if (!isOutOfMemory(error as Error)) throw error;
    throw new RapportError(
      'training/memory',
      'This device has too little free memory to train.',
      'Close other tabs and programs, then resume.',
    );
  }
}

/** The model and the release that the person talks with, from the kept files. */
async function openFiles({ manifest, release }: Pick<TrainingOrder, 'manifest' | 'release'>) {
  const store = await WeightStore.open();
  const found = async (digest: string): Promise<File> => {
    const file = await store.find(digest);
    if (file) return file;
    throw fileGone();
  };
  const files = new Map<string, File>();
  for (const { name, digest } of manifest.files) files.set(name, await found(digest));
  return {
    checkpoint: await openCheckpoint(manifest, files),
    release: release && (await readPeft(blobSource(await found(release.file.digest)), release)),
  };
}

/** Puts the adapter among the personal ones, under its digest. */
async function keep(adapter: Adapter): Promise<AdapterRef> {
  const { tensors } = writePeft(adapter);
  const digest = await sha256Hex(tensors);
  const store = await WeightStore.open('personal');
  const part = await store.part(digest);
  part.truncate(0);
  part.append(tensors);
  await part.finish();
  return {
    file: { name: 'adapter', digest, sizeBytes: tensors.byteLength },
    rank: adapter.rank,
    alpha: adapter.alpha,
    targets: [...adapter.targets.keys()],
  };
}

const fileGone = () =>
  new RapportError(
    'training/file-gone',
    'A file of the model is no longer on this device: the browser has cleared it.',
    'Reload the page, so that it is fetched again, then resume: what was learned is kept.',
  );

serve(self as never, service as unknown as Record<string, Method>);
