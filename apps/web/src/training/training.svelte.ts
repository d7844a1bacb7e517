// Personal training as the page sees it: begun only when asked, shown live, paused, resumed, compared.
// Dexie holds the run; the worker that computes lives no longer than it computes.
import { RapportError } from '@rapport/core';
import type { Database } from '../db/database.ts';
import { errorNote } from '../db/error-note.ts';
import { Live } from '../db/live.svelte.ts';
import { uuidv7 } from '../db/uuid.ts';
import type { Model } from '../model/model.svelte.ts';
import type { Releases } from '../model/releases.svelte.ts';
import { finish } from '../workers/channel.ts';
import { USUAL_BUDGET } from '../workers/plan.ts';
import type { StartedTrainer } from '../workers/start-training.ts';
import type {
  TrainingNews,
  TrainingOrder,
  TrainingStage,
  TrainingStep,
} from '../workers/training.ts';
import { TrainingDevice } from './device.svelte.ts';
import { estimateSeconds } from './estimate.ts';
import { judgementsOf, lessonsOf, type Lessons } from './lessons.ts';
import type { Personal } from './personal.svelte.ts';
import { fits, lackedMemory, type SideBySide, type TrainingRun } from './rows.ts';

/** One tab of this origin trains, or tries to, at a time. */
const TRAINING_LOCK = 'rapport-training';
/** After the last key the person may still be thinking about the next one. */
const TYPING_MS = 3000;
/** Greedy, so that only what was learned differs. */
const SHOWN_SAMPLING = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1.1,
  maxTokens: 120,
  seed: 1,
};
const SHOWN = 3;

/** What is taught, wherever. */
type Lesson = Pick<TrainingOrder, 'method' | 'lessons' | 'heldOut' | 'seed'>;

interface Parts {
  db: Database;
  model: Model;
  releases: Pick<Releases, 'current'>;
  personal: Personal;
  /** Starts a worker for one run. */
  start: () => StartedTrainer;
}

export class Training {
  /** What is computed in this tab now. */
  stage = $state<TrainingStage | null>(null);
  done = $state(0);
  of = $state(1);
  steps = $state.raw<readonly TrainingStep[]>([]);
  /** Why nothing is computed although a run is on: the person types, or a reply streams. */
  waiting = $state(false);
  /** The replies for the side-by-side view are being made. */
  showing = $state(false);
  readonly secondsLeft = $derived.by(() => {
    const last = this.steps.at(-1);
    if (this.stage !== 'learning' || !last || this.steps.length < 2) return null;
    const recent = this.steps.slice(-5);
    const each = recent.reduce((sum, { workMs }) => sum + workMs, 0) / recent.length;
    return ((last.of - last.step) * each) / 1000;
  });
  readonly device: TrainingDevice;
  readonly #db: Database;
  readonly #model: Model;
  readonly #releases: Pick<Releases, 'current'>;
  readonly #personal: Personal;
  readonly #start: () => StartedTrainer;
  readonly #runs: Live<TrainingRun[]>;
  readonly #lessons: Live<Lessons>;
  #active = $state.raw<{ id: string; started: StartedTrainer; stop: AbortController } | null>(null);
  readonly #recovered: Promise<void>;
  #measuring: Promise<void> | null = null;
  #computing: Promise<TrainingRun | undefined> | null = null;
  #busy = false;
  #typing: ReturnType<typeof setTimeout> | undefined;
  #demonstration: AbortController | null = null;
  /** The person has chosen before all replies were made. */
  #enough = false;

  constructor({ db, model, releases, personal, start }: Parts) {
    this.#db = db;
    this.#model = model;
    this.#releases = releases;
    this.#personal = personal;
    this.#start = start;
    this.device = new TrainingDevice(db, model, start);
    this.#runs = new Live(() => db.trainings.orderBy('id').reverse().toArray(), []);
    this.#lessons = new Live(async () => lessonsOf(await judgementsOf(db)), lessonsOf([]));
    personal.interrupt = () => {
      this.#enough = true;
      this.#demonstration?.abort();
    };
    this.#recovered = this.#recover();
  }

  /** What the person's judgements come to. */
  get lessons(): Lessons {
    return this.#lessons.value;
  }

  /** The newest run, whatever became of it. */
  get run(): TrainingRun | undefined {
    return this.#runs.value[0];
  }

  /** Runs before the newest that are kept or may be kept again. */
  get earlier(): TrainingRun[] {
    return this.#runs.value.slice(1);
  }

  /** True while this tab computes. */
  get active(): boolean {
    return this.#active !== null;
  }

  /** Finds out what this device can train with, by a short trial if that is not known. Never rejects. */
  async measure(): Promise<void> {
    if (this.#computing) return;
    this.#measuring ??= this.#measure().finally(() => (this.#measuring = null));
    await this.#measuring;
  }

  /** Seconds that a run on all votes of now would take; undefined where nothing was measured. */
  estimate({ practise = false }: { practise?: boolean } = {}): number | undefined {
    const { method, ...rest } = this.lessons;
    if (!method) return undefined;
    return estimateSeconds(this.device.plan, practise ? 'ppo' : method, rest);
  }

  /**
   * Begins a run on all votes of now; with `practise`, comparisons are followed by reinforcement against a
   * reward model of them. An unfinished run before it is dropped.
   */
  async teach({ practise = false }: { practise?: boolean } = {}): Promise<void> {
    this.#checkReady();
    await this.#compute(() => this.#plan(practise));
  }

  /**
   * Goes on with a run that was paused, failed, or cut off by a reload; begins again where another release speaks by
   * now, on top of that, and where memory did not suffice, with less at once.
   */
  async resume(run: TrainingRun): Promise<void> {
    this.#checkReady();
    await this.#compute(async () => {
      if (!this.fits(run)) return this.#begin(run.order, run.release);
      return lackedMemory(run) ? this.#begin(run.order, run.before) : run;
    });
  }

  /** Teaches the same lessons again, on top of the release that speaks now. */
  async bringOver(run: TrainingRun): Promise<void> {
    this.#checkReady();
    await this.#compute(() => this.#begin(run.order, run.release));
  }

  /** Whether a run was taught, or is being taught, on what speaks now. */
  fits(run: TrainingRun): boolean {
    return fits(run, this.#model);
  }

  /** Stops computing and frees the memory; what was saved is kept. */
  pause(): void {
    this.#active?.stop.abort();
  }

  /** Waits until no other tab trains: a run that one left unfinished, as when it was closed, is paused then. */
  async awaitOther(signal: AbortSignal): Promise<void> {
    const free = navigator.locks.request(TRAINING_LOCK, { signal }, () => this.#pauseAll());
    await free.catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  }

  /** Forgets an unfinished run. */
  async cancel(run: TrainingRun): Promise<void> {
    this.pause();
    await this.#personal.remove(run);
  }

  /** The person types: nothing is computed until a little after the last key. */
  makeWayForTyping(): void {
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => {
      this.#typing = undefined;
      this.#hold();
    }, TYPING_MS);
    this.#hold();
  }

  /** A reply streams, or is asked for: nothing is computed until it is done. */
  makeWayForReply(busy: boolean): void {
    this.#busy = busy;
    this.#hold();
  }

  /** Answers three of the person's own prompts without and with what was learned. */
  async show(run: TrainingRun): Promise<void> {
    if (this.showing || !run.outcome || !this.fits(run)) return;
    this.showing = true;
    this.#enough = false;
    try {
      const prompts = promptsOf(run);
      for (const messages of prompts.slice(run.sideBySide.length)) {
        const shown = await this.#answerTwice(run, messages);
        if (!shown) return;
        run = { ...run, sideBySide: [...run.sideBySide, shown] };
        await this.#db.trainings.update(run.id, { sideBySide: run.sideBySide });
      }
    } finally {
      this.showing = false;
    }
  }

  /** Until the release of last time speaks again, nothing can be taught on top of it. */
  #checkReady(): void {
    if (this.#model.phase !== 'ready' || !this.#personal.started) throw noModel();
  }

  #hold(): void {
    const wait = this.#busy || this.#typing !== undefined;
    if (wait) this.#demonstration?.abort();
    if (wait === this.waiting) return;
    this.waiting = wait;
    this.device.hold(wait);
    if (this.#active) void finish(this.#active.started.trainer.hold(wait)).catch(() => undefined);
  }

  /** A new run on all votes of now; undefined when they are too few. */
  async #plan(practise: boolean): Promise<TrainingRun | undefined> {
    const { method, lessons, heldOut } = lessonsOf(await judgementsOf(this.#db));
    if (!method) return undefined;
    return this.#begin({
      method: practise && method === 'dpo' ? 'ppo' : method,
      lessons,
      heldOut,
      seed: 1,
    });
  }

  /** A new run on the release that speaks now, in place of any that is not done. */
  async #begin(lesson: Lesson, before?: string): Promise<TrainingRun> {
    const { manifest, speaker } = this.#model;
    const { method, lessons, heldOut, seed } = lesson;
    const id = uuidv7();
    await this.device.measure();
    const { backend, budgetTokens, activationBytes } = this.device.plan;
    const release = this.#releases.current?.adapter ?? null;
    const run: TrainingRun = {
      id,
      state: 'running',
      startedAt: Date.now(),
      release: speaker.id,
      ...(before !== undefined && { before }),
      order: {
        ...{ id, manifest: manifest!, backend, budgetTokens, release },
        ...(activationBytes !== undefined && { activationBytes }),
        ...{ method, lessons, heldOut, seed },
      },
      stage: 'opening',
      steps: [],
      sideBySide: [],
    };
    const { trainings, checkpoints } = this.#db;
    await this.#db.transaction('rw', trainings, checkpoints, async () => {
      await trainings.where('state').anyOf('running', 'paused', 'failed').delete();
      await checkpoints.clear();
      await trainings.add(run);
    });
    return run;
  }

  async #measure(): Promise<void> {
    await this.#recovered;
    await navigator.locks.request(TRAINING_LOCK, { ifAvailable: true }, async (lock) => {
      if (lock) await this.device.measure({ anew: true });
    });
  }

  /** One run, however often it is asked for. */
  async #compute(choose: () => Promise<TrainingRun | undefined>): Promise<void> {
    this.#computing ??= this.#computeAlone(choose).finally(() => (this.#computing = null));
    const done = await this.#computing;
    if (done?.state === 'offered') await this.show(done);
  }

  async #computeAlone(
    choose: () => Promise<TrainingRun | undefined>,
  ): Promise<TrainingRun | undefined> {
    await this.#recovered;
    await this.#measuring;
    const options = { ifAvailable: true };
    return navigator.locks.request(TRAINING_LOCK, options, async (lock) => {
      if (!lock) throw elsewhere();
      let run = await choose();
      while (run && (await this.#train(run)) === 'outdated') {
        run = await this.#begin(run.order, run.release);
      }
      return run && (await this.#db.trainings.get(run.id));
    });
  }

  /** Trains to the end, or until the person stops it, or until another release speaks: then it is outdated. */
  async #train(run: TrainingRun): Promise<'outdated' | void> {
    const started = this.#start();
    const stop = new AbortController();
    const outdated = new AbortController();
    const signal = AbortSignal.any([stop.signal, outdated.signal]);
    this.#active = { id: run.id, started, stop };
    this.steps = run.steps;
    this.stage = 'opening';
    await this.#note(run.id, { state: 'running' });
    try {
      if (this.waiting) await finish(started.trainer.hold(true));
      const training = started.trainer.train(run.order, signal);
      const outcome = await finish(training, (news) => {
        if (this.fits(run)) this.#see(run, news);
        else outdated.abort();
      });
      if (!this.fits(run)) return 'outdated';
      await this.#note(run.id, { state: 'offered', outcome, steps: [...this.steps] });
      await this.#db.checkpoints.clear();
    } catch (error) {
      // Whatever failed: the release it was taught on, and perhaps its file, is gone.
      if (!stop.signal.aborted && !this.fits(run)) return 'outdated';
      await this.#stopped(run, error, stop.signal.aborted);
    } finally {
      started.end();
      this.#active = null;
      this.stage = null;
    }
  }

  #see({ id, order }: TrainingRun, news: TrainingNews): void {
    if (news.kind === 'stage') {
      this.stage = news.stage;
      [this.done, this.of] = [news.done, news.of];
    } else if (news.kind === 'step') {
      this.stage = news.stage;
      // Steps after the last save come again after a resume.
      const before = this.steps.filter(({ step }) => step < news.step.step);
      this.steps = [...before, news.step];
      [this.done, this.of] = [news.step.step, news.step.of];
      void this.#note(id, { steps: [...this.steps] });
    } else {
      // Neither a resume nor a later run of this session tries the lost device again.
      this.device.lose(order.backend);
      void this.#note(id, { deviceLost: true, order: { ...order, backend: 'wasm' } });
    }
  }

  async #stopped({ id }: TrainingRun, error: unknown, paused: boolean): Promise<void> {
    if (paused) return this.#note(id, { state: 'paused' });
    await this.#note(id, { state: 'failed', error: errorNote(error) });
    const failed = await this.#db.trainings.get(id);
    if (!failed || !lackedMemory(failed)) return;
    const { backend, budgetTokens = USUAL_BUDGET } = failed.order;
    await this.device.tooMuch(backend, budgetTokens);
  }

  async #note(id: string, changes: Partial<TrainingRun>): Promise<void> {
    await this.#db.trainings.update(id, changes);
  }

  /** One prompt, both voices; undefined when the model is gone. Begins again when the chat comes in. */
  async #answerTwice(
    run: TrainingRun,
    messages: TrainingRun['order']['lessons'][number]['body']['prompt'],
  ): Promise<SideBySide | undefined> {
    for (;;) {
      while (this.waiting) await new Promise((resolve) => setTimeout(resolve, 200));
      if (this.#enough || this.#model.phase !== 'ready' || !this.fits(run)) return undefined;
      const stop = new AbortController();
      this.#demonstration = stop;
      const said: string[] = [];
      await this.#personal.lend(async (use) => {
        for (const adapter of [null, run.outcome!.adapter]) {
          await use(adapter);
          const request = { messages, samplings: [SHOWN_SAMPLING] };
          const [reply] = await finish(this.#model.inference.speak(request, stop.signal));
          said.push(reply!.text);
        }
      });
      this.#demonstration = null;
      if (!stop.signal.aborted) {
        return { prompt: messages.at(-1)!.content, before: said[0]!, after: said[1]! };
      }
    }
  }

  /** After a reload: a run that nobody computes any more waits for the person. */
  async #recover(): Promise<void> {
    await navigator.locks.request(TRAINING_LOCK, { ifAvailable: true }, async (lock) => {
      if (lock) await this.#pauseAll();
    });
  }

  async #pauseAll(): Promise<void> {
    await this.#db.trainings.where({ state: 'running' }).modify({ state: 'paused' });
  }
}

/** Prompts kept apart first: those of the lessons were learned. */
function promptsOf({ order }: TrainingRun) {
  const prompts = new Map(
    [...order.heldOut, ...order.lessons].map(({ body }) => [
      JSON.stringify(body.prompt),
      body.prompt,
    ]),
  );
  return [...prompts.values()].slice(0, SHOWN);
}

const noModel = () =>
  new RapportError(
    'training/no-model',
    'The model is not ready on this device.',
    'Wait until it has been fetched and opened, then try again.',
  );

const elsewhere = () =>
  new RapportError(
    'training/elsewhere',
    'Another tab of this page is training already.',
    'Look there, or close that tab and resume here.',
  );
