// Personal training as the page sees it, with real storage; the two workers' ports are scripted.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { RapportError, type Judgement, type Release } from '@rapport/core';
import { SPEAKING_LOCK } from '../chat/chat.svelte.ts';
import { openDatabase, type Database } from '../db/database.ts';
import { uuidv7 } from '../db/uuid.ts';
import { Model } from '../model/model.svelte.ts';
import { Releases } from '../model/releases.svelte.ts';
import type { OutboxRow } from '../sync/rows.ts';
import type { AdapterRef, Inference } from '../workers/inference.ts';
import type { Trial, TrainingBackend } from '../workers/plan.ts';
import type { StartedTrainer } from '../workers/start-training.ts';
import type {
  Trainer,
  TrainingNews,
  TrainingOrder,
  TrainingOutcome,
  TrialRequest,
} from '../workers/training.ts';
import { Personal } from './personal.svelte.ts';
import { Training } from './training.svelte.ts';

const adapter: AdapterRef = {
  file: { name: 'adapter', digest: 'd1', sizeBytes: 4 },
  rank: 8,
  alpha: 16,
  targets: [],
};
const outcome: TrainingOutcome = {
  adapter,
  comparison: {
    pairs: 4,
    rightBefore: 1,
    rightAfter: 3,
    gained: 4,
    marginBefore: -0.1,
    marginAfter: 0.4,
    nllChange: 0.01,
    scale: 1,
  },
  tokensTrained: 100,
  seconds: 3,
};

/** A backend that bore the largest run, at so many milliseconds a token. */
const bore = (backend: TrainingBackend, tokenMs: number): Trial => ({
  backend,
  loadMs: 1,
  weightBytes: 1,
  runs: [{ tokens: 1024, ms: 1024 * tokenMs, heapBytes: 2 ** 24 }],
  full: false,
});

/** Stands at the training worker's port: `steps` steps, one every few milliseconds. */
class ScriptedTrainer {
  orders: TrainingOrder[] = [];
  held: boolean[] = [];
  ended = 0;
  steps = 3;
  stepMs = 1;
  failure: Error | undefined;
  losesDevice = false;
  trials: Partial<Record<TrainingBackend, Trial>> = { wasm: bore('wasm', 10) };
  tried: TrainingBackend[] = [];
  trialMs = 0;
  trialFailure: Error | undefined;

  /** Workers for trials are not counted as ended. */
  readonly start = (): StartedTrainer => {
    let trained = false;
    const train = (...call: Parameters<typeof this.train>) => {
      trained = true;
      return this.train(...call);
    };
    return {
      trainer: { train, trial: this.trial, hold: this.hold } as unknown as Trainer,
      end: () => void (this.ended += Number(trained)),
    };
  };

  trial = async function* (this: ScriptedTrainer, { backend }: TrialRequest) {
    this.tried.push(backend);
    await new Promise((resolve) => setTimeout(resolve, this.trialMs));
    if (this.trialFailure) throw this.trialFailure;
    return this.trials[backend] ?? null;
  }.bind(this);

  train = async function* (
    this: ScriptedTrainer,
    order: TrainingOrder,
    signal?: AbortSignal,
  ): AsyncGenerator<TrainingNews, TrainingOutcome> {
    this.orders.push(order);
    if (this.losesDevice && order.backend === 'webgpu') yield { kind: 'device-lost' };
    for (let step = 1; step <= this.steps; step++) {
      await new Promise((resolve) => setTimeout(resolve, this.stepMs));
      signal?.throwIfAborted();
      if (this.failure) throw this.failure;
      const numbers = { loss: 1 / step, margin: step, score: null, kl: 0.1, workMs: 1000 };
      yield { kind: 'step', stage: 'learning', step: { step, of: this.steps, ...numbers } };
    }
    return outcome;
  }.bind(this);

  hold = async function* (this: ScriptedTrainer, still: boolean) {
    this.held.push(still);
  }.bind(this);
}

/** Stands at the model's port: says which adapter spoke. */
class ScriptedModel {
  personal: string | null = null;
  release: string | null = null;
  /** Personal adapters whose file is gone. */
  gone: string[] = [];
  /** Another voice is refused. */
  broken = false;
  /** Speaks on until it is stopped. */
  endless = false;
  async *fetchAdapter() {}
  async *keepOnly() {}
  async *useAdapter(ref: AdapterRef | null) {
    [this.release, this.personal] = [ref?.file.digest ?? null, null];
  }
  async *usePersonal(ref: AdapterRef | null) {
    if (this.broken) throw new Error('broken');
    if (ref && this.gone.includes(ref.file.digest)) throw new Error('gone');
    this.personal = ref?.file.digest ?? null;
  }
  async *speak(_request: unknown, signal: AbortSignal) {
    while (this.endless && !signal.aborted) await new Promise((resolve) => setTimeout(resolve, 5));
    return [{ text: `spoken by ${this.personal ?? 'release'}` }];
  }
}

let db: Database;
let model: Model;
let voice: ScriptedModel;
let worker: ScriptedTrainer;
let told: string[];
let personal: Personal;
let training: Training;
let releases: Releases;
/** The release that the channel wants. */
let wanted: string;

beforeEach(async () => {
  db = openDatabase(`training-${Math.random()}`);
  voice = new ScriptedModel();
  worker = new ScriptedTrainer();
  told = [];
  wanted = 'r1';
  await begin();
});
afterEach(async () => {
  personal.close();
  // What it was doing is done.
  await navigator.locks.request(SPEAKING_LOCK, () => undefined);
  await db.delete();
});

/** What a page load makes. */
async function begin() {
  personal?.close();
  model = new Model(db, voice as unknown as Inference);
  model.phase = 'ready';
  model.manifest = { name: 'm', format: 'gguf', digest: 'base-digest', files: [] };
  personal = new Personal(db, model, (what) => told.push(what));
  releases = new Releases(db, model, feed, (what) => told.push(what));
  const { start } = worker;
  training = new Training({ db, model, releases, personal, start });
  await personal.start();
}

const feed = {
  channel: async () => ({
    ...{ name: 'main', version: 1, issued: 0, expires: Date.now() + 60_000 },
    ...{ stable: wanted, blocked: [], freeze: false },
  }),
  release: async (id: string): Promise<Release> => ({
    base: { name: 'm', format: 'gguf', digest: 'base-digest', files: [] },
    adapter: { digest: `of-${id}`, size: 4, rank: 8, alpha: 16, targets: [] },
    tokenizer: { digest: '' },
    chunks: { size: 1, sha256: [] },
    evaluation: {},
    dataset: { digest: null, count: 2, devices: 1 },
    parents: [],
  }),
  bucket: async () => 0.5,
  mine: async () => 0,
};

/** Another release is wanted from now on, and found. */
async function releaseArrives(id: string) {
  wanted = id;
  await releases.look();
}

async function judge(count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const id = uuidv7();
    const replies = ['good', 'bad'].map((text) => ({ text }));
    const prompt = [{ role: 'user', content: `prompt ${i}` }];
    const body = { prompt, replies, ranks: [1, 2] };
    const event = { type: 'ranking', body } as unknown as Judgement & OutboxRow['event'];
    const row = { id, conversationId: 'c', state: 'held', createdAt: 0 } as const;
    await db.outbox.add({ ...row, event, redacted: [] });
    const about = { id, conversationId: 'c', subject: `g${i}`, kind: 'ranking' } as const;
    await db.feedback.add({ ...about, at: 0, eventId: id });
  }
}

const run = () => expect.poll(() => training.run);

test('nothing is taught from too few votes', async () => {
  await judge(19);
  await expect.poll(() => training.lessons.missing).toBe(1);
  await training.teach();
  expect(worker.orders).toEqual([]);
});

test('a run is offered with its comparison and three prompts answered twice, and changes nothing', async () => {
  await judge(25);
  await training.teach();
  await run().toMatchObject({ state: 'offered', outcome });
  expect(worker.orders[0]!.lessons).toHaveLength(20);
  expect(worker.orders[0]!.heldOut).toHaveLength(5);
  expect(worker.ended).toBe(1);
  await expect.poll(() => training.run?.sideBySide).toHaveLength(3);
  expect(training.run!.sideBySide[0]).toMatchObject({
    before: 'spoken by release',
    after: 'spoken by d1',
  });
  expect(voice.personal).toBeNull();
  expect(model.personal).toBeNull();
});

test('kept, it speaks and every reply says so; undone, the release speaks alone', async () => {
  await judge(25);
  await training.teach();
  await run().toMatchObject({ state: 'offered' });
  await personal.keep(training.run!);
  expect(voice.personal).toBe('d1');
  let spoke: string | null = '';
  await model.speakWith(new AbortController().signal, async (speaker) => {
    spoke = speaker.adapter;
    return [];
  });
  expect(spoke).toBe('personal:d1');
  await personal.undo(training.run!);
  expect([voice.personal, model.personal]).toEqual([null, null]);
});

test('a choice that the engine does not follow is told, and the next one is followed', async () => {
  await judge(25);
  await training.teach();
  await run().toMatchObject({ state: 'offered' });
  await personal.keep(training.run!);
  personal.close();
  await navigator.locks.request(SPEAKING_LOCK, () => undefined);
  voice.broken = true;
  await expect(personal.undo(training.run!)).rejects.toThrow('broken');
  expect(model.personal).toBe('d1');
  voice.broken = false;
  await personal.undo(training.run!);
  expect([voice.personal, model.personal]).toEqual([null, null]);
});

test('a choice does not wait for the replies that are being made to compare', async () => {
  await judge(25);
  voice.endless = true;
  const taught = training.teach();
  await expect.poll(() => training.showing).toBe(true);
  await run().toMatchObject({ state: 'offered' });
  await personal.keep(training.run!);
  expect(model.personal).toBe('d1');
  await taught;
  expect(training.showing).toBe(false);
});

test('a release sets the adapter aside with a word; the same lessons are taught on top of it at one button', async () => {
  await judge(25);
  await training.teach();
  await run().toMatchObject({ state: 'offered' });
  await personal.keep(training.run!);
  await releaseArrives('r1');
  await run().toMatchObject({ state: 'aside', release: 'base' });
  expect(told).toEqual(['new', 'aside']);
  expect([voice.release, voice.personal, model.personal]).toEqual(['of-r1', null, null]);

  await judge(5);
  await training.bringOver(training.run!);
  await run().toMatchObject({ state: 'offered', release: 'r1', before: 'base' });
  const [first, second] = worker.orders;
  expect(second!.release!.file.digest).toBe('of-r1');
  expect(second!.lessons).toEqual(first!.lessons);
  expect(second!.heldOut).toEqual(first!.heldOut);
  expect(second!.id).not.toBe(first!.id);
});

test('when the release it was taught on comes back, the adapter speaks again; undone, it does not', async () => {
  await releaseArrives('r1');
  await judge(25);
  await training.teach();
  await run().toMatchObject({ state: 'offered' });
  await personal.keep(training.run!);
  await releaseArrives('r2');
  await run().toMatchObject({ state: 'aside' });
  await releaseArrives('r1');
  await run().toMatchObject({ state: 'kept' });
  expect(told).toEqual(['new', 'new', 'aside', 'new', 'returned']);
  expect([voice.release, voice.personal, model.personal]).toEqual(['of-r1', 'd1', 'd1']);

  await personal.undo(training.run!);
  await releaseArrives('r2');
  await releaseArrives('r1');
  await run().toMatchObject({ state: 'offered' });
  expect(voice.personal).toBeNull();
});

test('the adapter is not spoken with on another base model, even without a release', async () => {
  await judge(25);
  await training.teach();
  await run().toMatchObject({ state: 'offered' });
  await personal.keep(training.run!);
  await begin();
  expect(voice.personal).toBe('d1');
  const { manifest } = model;
  Object.assign(manifest!, { digest: 'other-base' });
  await model.personalise!();
  await run().toMatchObject({ state: 'aside' });
  expect(training.fits(training.run!)).toBe(false);
});

test('an adapter whose file is gone is set aside with the reason, and not tried again', async () => {
  await judge(25);
  await training.teach();
  await run().toMatchObject({ state: 'offered' });
  await personal.keep(training.run!);
  voice.gone = ['d1'];
  await begin();
  await begin();
  await run().toMatchObject({ state: 'aside', error: { message: 'gone' } });
  expect(told).toEqual(['lost']);
});

test('a release that arrives while training goes on is what the same lessons are taught on, from the beginning', async () => {
  await judge(25);
  worker.stepMs = 60;
  const taught = training.teach();
  await expect.poll(() => training.steps.length).toBeGreaterThan(0);
  const dropped = training.run!.id;
  await releaseArrives('r1');
  await taught;
  await run().toMatchObject({ state: 'offered', release: 'r1', before: 'base' });
  expect(await db.trainings.get(dropped)).toBeUndefined();
  expect(worker.orders.map(({ release }) => release?.file.digest)).toEqual([undefined, 'of-r1']);
  expect(training.run!.sideBySide[0]!.after).toBe('spoken by d1');
});

test('a release that arrives while training is paused: resumed, it begins again on top of it', async () => {
  await judge(25);
  worker.stepMs = 60;
  const first = training.teach();
  await expect.poll(() => training.steps.length).toBeGreaterThan(0);
  training.pause();
  await first;
  await releaseArrives('r1');
  await run().toMatchObject({ state: 'paused', release: 'base' });
  worker.stepMs = 1;
  await training.resume(training.run!);
  await run().toMatchObject({ state: 'offered', release: 'r1', before: 'base' });
  expect(await db.checkpoints.count()).toBe(0);
});

test('nothing is shown side by side with a release that the adapter was not taught on', async () => {
  await judge(25);
  voice.endless = true;
  const taught = training.teach();
  await expect.poll(() => training.showing).toBe(true);
  training.makeWayForReply(true);
  model.speaker = { id: 'r1', adapter: 'of-r1' };
  training.makeWayForReply(false);
  await taught;
  expect(training.run!.sideBySide).toEqual([]);
});

test('paused, the worker is gone; resumed after a reload, the same order goes on', async () => {
  await judge(25);
  worker.stepMs = 60;
  const first = training.teach();
  await expect.poll(() => training.steps.length).toBeGreaterThan(0);
  training.pause();
  await first;
  await run().toMatchObject({ state: 'paused' });
  expect(worker.ended).toBe(1);
  worker.stepMs = 1;
  await begin();
  await run().toMatchObject({ state: 'paused' });
  await training.resume(training.run!);
  await run().toMatchObject({ state: 'offered' });
  expect(worker.orders[1]).toEqual(worker.orders[0]);
});

test('a run that a reload cut off waits to be resumed', async () => {
  const order = { lessons: [], heldOut: [] } as unknown as TrainingOrder;
  const rest = { release: 'base', stage: 'learning', steps: [], sideBySide: [] } as const;
  const row = { id: 'r', state: 'running', startedAt: 0, order, ...rest } as const;
  await db.trainings.add({ ...row, steps: [], sideBySide: [] });
  await begin();
  await run().toMatchObject({ state: 'paused' });
});

test('a run that another tab computes is paused when that tab is gone', async () => {
  const order = { lessons: [], heldOut: [] } as unknown as TrainingOrder;
  const rest = { order, release: 'base', stage: 'learning', steps: [], sideBySide: [] } as const;
  let gone!: () => void;
  const other = new Promise<void>((resolve) => (gone = resolve));
  await new Promise<void>((held) => {
    void navigator.locks.request('rapport-training', () => {
      held();
      return other;
    });
  });
  await db.trainings.add({
    ...rest,
    id: 'r',
    state: 'running',
    startedAt: 0,
    steps: [],
    sideBySide: [],
  });
  await begin();
  await run().toMatchObject({ state: 'running' });
  const shown = new AbortController();
  const waiting = training.awaitOther(shown.signal);
  gone();
  await waiting;
  await run().toMatchObject({ state: 'paused' });
  await navigator.locks.request('rapport-training', async () => {
    const hidden = training.awaitOther(shown.signal);
    shown.abort();
    await hidden;
  });
});

test('training makes way while a reply streams and while the person types', async () => {
  await judge(25);
  worker.stepMs = 100;
  const taught = training.teach();
  await expect.poll(() => training.active).toBe(true);
  training.makeWayForReply(true);
  await expect.poll(() => worker.held).toEqual([true]);
  expect(training.waiting).toBe(true);
  training.makeWayForReply(false);
  await expect.poll(() => worker.held).toEqual([true, false]);
  training.makeWayForTyping();
  await expect.poll(() => worker.held).toEqual([true, false, true]);
  await taught;
});

test('a failure keeps its remedy beside the run', async () => {
  await judge(25);
  worker.failure = new RapportError('training/memory', 'No memory.', 'Close other tabs.');
  await training.teach();
  await run().toMatchObject({
    state: 'failed',
    error: { message: 'No memory.', remedy: 'Close other tabs.' },
  });
});

test('a device that is lost is told, and not tried again when the run is resumed', async () => {
  await judge(25);
  worker.stepMs = 60;
  worker.losesDevice = true;
  worker.trials.webgpu = bore('webgpu', 1);
  const first = training.teach();
  await expect.poll(() => training.run?.deviceLost).toBe(true);
  training.pause();
  await first;
  await run().toMatchObject({ state: 'paused' });
  await training.resume(training.run!);
  expect(worker.orders.map(({ backend }) => backend)).toEqual(['webgpu', 'wasm']);

  worker.stepMs = 1;
  await training.teach();
  expect(worker.orders.at(-1)!.backend).toBe('wasm');
  await begin();
  await training.teach();
  expect(worker.orders.at(-1)!.backend).toBe('webgpu');
});

test('trials choose backend and budget and tell how long it will take; after a reload they still hold', async () => {
  worker.trials.webgpu = bore('webgpu', 1);
  await judge(25);
  await expect.poll(() => training.lessons.method).toBe('dpo');
  expect(training.estimate()).toBeUndefined();
  await training.measure();
  expect(training.device.plan).toMatchObject({ backend: 'webgpu', budgetTokens: 1024 });
  const seconds = training.estimate()!;
  expect(seconds).toBeGreaterThan(1);
  expect(training.estimate({ practise: true })).toBeGreaterThan(seconds);
  expect(worker.tried).toEqual(['wasm', 'webgpu']);

  await begin();
  await training.teach();
  expect(worker.orders[0]).toMatchObject({ backend: 'webgpu', budgetTokens: 1024 });
  expect(worker.tried).toHaveLength(2);
  Object.assign(model.manifest!, { digest: 'other-base' });
  await training.measure();
  expect(worker.tried).toHaveLength(4);
});

test('who chose a processor for the chat gets no graphics for training', async () => {
  worker.trials.webgpu = bore('webgpu', 1);
  model.backend = 'simd';
  await judge(25);
  await training.teach();
  expect(worker.tried).toEqual(['wasm']);
  expect(worker.orders[0]!.backend).toBe('wasm');
});

test('a trial that fails is noted, and the run begins as usual', async () => {
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
  worker.trialFailure = new Error('no such kernel');
  await judge(25);
  await training.teach();
  await run().toMatchObject({ state: 'offered' });
  expect(worker.orders[0]).toMatchObject({ backend: 'wasm', budgetTokens: 448 });
  expect(training.device.measuring).toBe(false);
  expect(training.estimate()).toBeUndefined();
  expect(warn).toHaveBeenCalledWith(expect.stringContaining('wasm'), worker.trialFailure);
  warn.mockRestore();
  // Another page load tries again.
  worker.trialFailure = undefined;
  await begin();
  await training.measure();
  expect(training.device.plan.speed).toBeDefined();
});

test('asked for twice while a trial is on, one run begins, after it', async () => {
  worker.trials.wasm = bore('wasm', 1);
  worker.trialMs = 50;
  await judge(25);
  const measured = training.measure();
  await expect.poll(() => training.device.measuring).toBe(true);
  await Promise.all([training.teach(), training.teach(), measured]);
  expect(worker.orders).toHaveLength(1);
  expect(worker.orders[0]!.budgetTokens).toBe(1024);
  expect(worker.tried).toEqual(['wasm', 'webgpu']);
  expect(await db.trainings.count()).toBe(1);
});

test('a trial that the person skips is over at once, and the run begins as usual', async () => {
  worker.trialMs = 1e9;
  await judge(25);
  const measured = training.measure();
  await expect.poll(() => worker.tried).toEqual(['wasm']);
  training.device.skip();
  await measured;
  expect(training.device.measuring).toBe(false);
  await training.teach();
  expect(worker.orders[0]).toMatchObject({ backend: 'wasm', budgetTokens: 448 });
  expect(worker.tried).toEqual(['wasm']);
});

test('a trial makes way for the chat, and what it found then is not kept', async () => {
  worker.trialMs = 50;
  await judge(25);
  const measured = training.measure();
  await expect.poll(() => worker.tried).toHaveLength(1);
  training.makeWayForReply(true);
  training.makeWayForReply(false);
  await measured;
  expect(worker.held.slice(0, 2)).toEqual([true, false]);
  await training.measure();
  expect(worker.tried).toHaveLength(2);
  await begin();
  await training.measure();
  expect(worker.tried).toHaveLength(4);
});

test.each(['training/memory', 'training/crashed'])(
  'after %s a resume begins again with half as much at once, and later runs take no more',
  async (code) => {
    worker.trials.wasm = bore('wasm', 1);
    worker.failure = new RapportError(code, 'No memory.', 'Close other tabs.');
    await judge(25);
    await training.teach();
    await run().toMatchObject({ state: 'failed', order: { budgetTokens: 1024 } });
    const failed = training.run!;
    await db.checkpoints.add({ id: `${failed.id}/read`, value: 'rows of the larger budget' });
    worker.failure = undefined;
    await begin();
    await run().toMatchObject({ state: 'failed' });
    await training.resume(training.run!);
    await run().toMatchObject({
      state: 'offered',
      order: { budgetTokens: 512, activationBytes: 0 },
    });
    expect(worker.orders[1]!.id).not.toBe(failed.id);
    expect(worker.orders[1]!.lessons).toEqual(worker.orders[0]!.lessons);
    expect(training.run!.before).toBeUndefined();
    expect(await db.checkpoints.count()).toBe(0);
    await begin();
    await training.teach();
    expect(worker.orders[2]!.budgetTokens).toBe(512);
  },
);

test('a failure that is not for want of memory is resumed with the same order', async () => {
  await judge(25);
  worker.failure = new RapportError('training/file-gone', 'Gone.', 'Reload.');
  await training.teach();
  await run().toMatchObject({ state: 'failed' });
  worker.failure = undefined;
  await training.resume(training.run!);
  expect(worker.orders[1]).toEqual(worker.orders[0]);
});

test('cancelled, a run is forgotten', async () => {
  await judge(25);
  worker.stepMs = 60;
  const taught = training.teach();
  await expect.poll(() => training.steps.length).toBeGreaterThan(0);
  await training.cancel(training.run!);
  await taught;
  await run().toBeUndefined();
});
