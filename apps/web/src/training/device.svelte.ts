// What this device can train with: a short trial of each backend, kept for a while, and what was too much for it.
// It starts a worker for each trial and ends it, and knows nothing of runs.
import { recall, remember, type Database } from '../db/database.ts';
import type { Model } from '../model/model.svelte.ts';
import { finish } from '../workers/channel.ts';
import {
  lastingTrials,
  planOf,
  smaller,
  usualPlan,
  type Hints,
  type KeptTrials,
  type Plan,
  type Trial,
  type TrainingBackend,
} from '../workers/plan.ts';
import type { StartedTrainer } from '../workers/start-training.ts';
import { LASTS_MS } from '../workers/verdict.ts';

/** Its address has a hash of everything that it is built with. */
const BUILD = import.meta.url;

/** Budgets that were halved, and when. */
type Ceilings = Partial<Record<TrainingBackend, { budgetTokens: number; atMs: number }>>;

export class TrainingDevice {
  /** A trial is on. */
  measuring = $state(false);
  /** With what a run would be computed: by trials, or as usual. */
  plan = $state.raw<Plan>(usualPlan('wasm', { deviceGb: 0 }));
  readonly #db: Database;
  readonly #model: Model;
  readonly #start: () => StartedTrainer;
  readonly #lost = new Set<TrainingBackend>();
  /** Of this session, kept or not. */
  #known: { of: string; trials: readonly Trial[] } | null = null;
  #stop: AbortController | null = null;
  #trainer: StartedTrainer['trainer'] | null = null;
  /** The person did not want to wait for a trial. */
  #skipped = false;
  #held = false;
  /** The chat came in: what is measured now says little. */
  #disturbed = false;

  constructor(db: Database, model: Model, start: () => StartedTrainer) {
    this.#db = db;
    this.#model = model;
    this.#start = start;
  }

  /**
   * Plans by what is known, or by a trial, unless the person has skipped one; `anew` forgets that. Whatever fails,
   * there is a plan afterwards.
   */
  async measure({ anew = false }: { anew?: boolean } = {}): Promise<void> {
    if (anew) this.#skipped = false;
    let hints: Hints = { deviceGb: deviceGb() };
    let plan: Plan | undefined;
    try {
      hints = { ...hints, ceilings: await this.#ceilings() };
      const trials = (await this.#recall()) ?? (this.#skipped ? [] : await this.#tryAll());
      const there = trials.filter(({ backend }) => !this.#lost.has(backend));
      plan = planOf(there, hints);
    } catch (error) {
      console.warn('Nothing could be measured:', error);
    }
    this.plan = plan ?? usualPlan(this.#usual, hints);
  }

  /** Measures no longer: plans are made by what is known until now. */
  skip(): void {
    this.#skipped = true;
    this.#stop?.abort();
  }

  /** True: compute nothing until told otherwise. */
  hold(still: boolean): void {
    this.#held = still;
    this.#disturbed ||= still;
    if (this.#trainer) void finish(this.#trainer.hold(still)).catch(() => undefined);
  }

  /** It went away: no plan of this session counts on it. */
  lose(backend: TrainingBackend): void {
    this.#lost.add(backend);
  }

  /** There was too little memory: from now on half of it. */
  async tooMuch(backend: TrainingBackend, budgetTokens: number): Promise<void> {
    const kept = await recall<Ceilings>(this.#db, this.#ceilingsKey);
    const half = { budgetTokens: smaller(budgetTokens), atMs: Date.now() };
    await remember(this.#db, this.#ceilingsKey, { ...kept, [backend]: half });
  }

  /** Who chose a processor for the chat gets no graphics here. */
  get #backends(): TrainingBackend[] {
    const { backend } = this.#model;
    return backend === 'auto' || backend === 'webgpu' ? ['wasm', 'webgpu'] : ['wasm'];
  }

  get #usual(): TrainingBackend {
    return this.#model.backend === 'webgpu' && !this.#lost.has('webgpu') ? 'webgpu' : 'wasm';
  }

  get #trialsKey(): string {
    return `training-trials/${this.#model.manifest!.digest}`;
  }

  get #ceilingsKey(): string {
    return `training-ceilings/${this.#model.manifest!.digest}`;
  }

  async #recall(): Promise<readonly Trial[] | undefined> {
    const backends = this.#backends.join();
    if (this.#known?.of === `${this.#trialsKey} ${backends}`) return this.#known.trials;
    const kept = await recall<KeptTrials>(this.#db, this.#trialsKey);
    return lastingTrials(kept, { backends, build: BUILD }, Date.now());
  }

  async #ceilings(): Promise<Hints['ceilings']> {
    const kept = await recall<Ceilings>(this.#db, this.#ceilingsKey);
    const lasting = Object.entries(kept ?? {}).filter(
      ([, { atMs }]) => Date.now() - atMs < LASTS_MS,
    );
    return Object.fromEntries(
      lasting.map(([backend, { budgetTokens }]) => [backend, budgetTokens]),
    );
  }

  /** One backend after the other; what a calm device answered in full is kept. */
  async #tryAll(): Promise<readonly Trial[]> {
    const key = this.#trialsKey;
    const backends = this.#backends.join();
    const { signal } = (this.#stop = new AbortController());
    const trials: Trial[] = [];
    let whole = this.#lost.size === 0;
    this.#disturbed = this.#held;
    this.measuring = true;
    for (const backend of this.#backends) {
      if (this.#lost.has(backend) || signal.aborted) continue;
      try {
        const trial = await this.#try(backend, signal);
        if (trial) trials.push(trial);
        whole &&= trial?.runs.length !== 0;
      } catch (error) {
        whole = false;
        if (!signal.aborted) console.warn(`The trial of training with ${backend} failed:`, error);
      }
    }
    this.measuring = false;
    this.#stop = null;
    if (!signal.aborted) this.#known = { of: `${key} ${backends}`, trials };
    if (whole && !signal.aborted && !this.#disturbed) {
      const kept: KeptTrials = { backends, build: BUILD, atMs: Date.now(), trials };
      await remember(this.#db, key, kept);
    }
    return trials;
  }

  /** Rejects as soon as `signal` aborts; the worker is ended, whatever it does. */
  async #try(backend: TrainingBackend, signal: AbortSignal): Promise<Trial | null> {
    const { trainer, end } = this.#start();
    this.#trainer = trainer;
    const stopped = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error));
    });
    try {
      if (this.#held) await Promise.race([stopped, finish(trainer.hold(true))]);
      const manifest = this.#model.manifest!;
      return await Promise.race([stopped, finish(trainer.trial({ manifest, backend }))]);
    } finally {
      this.#trainer = null;
      end();
    }
  }
}

const deviceGb = () => (navigator as { deviceMemory?: number }).deviceMemory;
