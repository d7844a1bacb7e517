// The personal adapter that speaks with the release: kept, undone, set aside when another release comes,
// taken up again when its own comes back.
// Dexie says which one is kept; every tab follows it between two replies.
import { liveQuery, type Subscription } from 'dexie';
import { blobSource, readPeft, writePeft } from '@rapport/core';
import { SPEAKING_LOCK } from '../chat/chat.svelte.ts';
import type { Database } from '../db/database.ts';
import { errorNote } from '../db/error-note.ts';
import type { Model } from '../model/model.svelte.ts';
import { WeightStore } from '../model/weight-store.ts';
import { finish } from '../workers/channel.ts';
import type { AdapterRef } from '../workers/inference.ts';
import { fits, type TrainingRun } from './rows.ts';

/** Tells the person that another release has silenced their adapter, that it speaks again, or that it is lost. */
export type AnnouncePersonal = (what: 'aside' | 'returned' | 'lost', run: TrainingRun) => void;

export class Personal {
  readonly #db: Database;
  readonly #model: Model;
  readonly #announce: AnnouncePersonal;
  /** Ends what borrowed the voice: the person has chosen. */
  interrupt: (() => void) | undefined;
  /** What was kept speaks with the release of last time. */
  started = $state(false);
  /** Digest of the adapter that the inference worker adds now. */
  #applied: string | null = null;
  #applying: Promise<void> = Promise.resolve();
  #following: Subscription | undefined;

  constructor(db: Database, model: Model, announce: AnnouncePersonal = () => {}) {
    this.#db = db;
    this.#model = model;
    this.#announce = announce;
    model.personalise = () => {
      // A release has just been loaded, and nothing personal with it.
      this.#applied = null;
      model.personal = null;
      return this.#apply(() => this.#returning());
    };
  }

  /** Speaks with what is kept, then follows it; call once the release speaks. */
  async start(): Promise<void> {
    await this.#apply(() => this.#returning());
    this.started = true;
    this.#following = liveQuery(() => this.#kept()).subscribe((kept) => {
      if ((kept?.outcome?.adapter.file.digest ?? null) !== this.#applied) void this.#whenSilent();
    });
  }

  /** Follows no longer, as when the page goes away. */
  close(): void {
    this.#following?.unsubscribe();
  }

  /** From the next reply on, this one speaks; what spoke before it is offered again. */
  async keep(run: TrainingRun): Promise<void> {
    const { trainings } = this.#db;
    await this.#db.transaction('rw', trainings, async () => {
      await trainings.where({ state: 'kept' }).modify({ state: 'offered' });
      await trainings.update(run.id, { state: 'kept' });
    });
    await this.#whenSilent();
  }

  /** The release alone speaks again; the adapter stays, to be kept after all. */
  async undo(run: TrainingRun): Promise<void> {
    await this.#db.trainings.update(run.id, { state: 'offered' });
    await this.#whenSilent();
  }

  /** Forgets a run and its adapter. */
  async remove(run: TrainingRun): Promise<void> {
    await this.#db.trainings.delete(run.id);
    await this.#db.checkpoints.where('id').startsWith(run.id).delete();
    await this.#whenSilent();
    const store = await WeightStore.open('personal');
    const rows = await this.#db.trainings.toArray();
    await store.keepOnly(rows.flatMap(({ outcome }) => outcome?.adapter.file.digest ?? []));
  }

  /** The two files of an adapter as Python's PEFT reads them. */
  async peftFiles(adapter: AdapterRef): Promise<{ name: string; content: Blob }[]> {
    const file = await (await WeightStore.open('personal')).find(adapter.file.digest);
    const { config } = writePeft(await readPeft(blobSource(file!), adapter));
    return [
      { name: 'adapter_config.json', content: new Blob([config], { type: 'application/json' }) },
      { name: 'adapter_model.safetensors', content: file! },
    ];
  }

  /** Speaks with another adapter, or with none, while `act` runs; no reply is made meanwhile. */
  async lend(act: (use: (adapter: AdapterRef | null) => Promise<void>) => Promise<void>) {
    await navigator.locks.request(SPEAKING_LOCK, async () => {
      this.#model.speaking = true;
      try {
        await act((adapter) => finish(this.#model.inference.usePersonal(adapter)));
      } finally {
        this.#model.speaking = false;
        this.#applied = null;
        await finish(this.#model.inference.usePersonal(null));
        await this.#apply();
      }
    });
  }

  #kept(): Promise<TrainingRun | undefined> {
    return this.#db.trainings.where({ state: 'kept' }).first();
  }

  /** What was set aside with a release that speaks again now. */
  #returning(): Promise<TrainingRun | undefined> {
    const aside = this.#db.trainings.where({ state: 'aside' });
    return aside.filter((run) => !run.error && fits(run, this.#model)).last();
  }

  #whenSilent(): Promise<void> {
    this.interrupt?.();
    return navigator.locks.request(SPEAKING_LOCK, () => this.#apply());
  }

  /**
   * One at a time, since a release may be loaded while the person chooses. `otherwise` speaks where nothing is
   * kept: only in the tab that has loaded a release, since another may still speak with the one before.
   */
  #apply(otherwise: () => Promise<TrainingRun | undefined> = async () => undefined): Promise<void> {
    const applied = this.#applying.then(() => this.#applyNow(otherwise));
    // Whoever asked for it hears of a failure; the next one is not held up by it.
    this.#applying = applied.catch(() => undefined);
    return applied;
  }

  async #applyNow(otherwise: () => Promise<TrainingRun | undefined>): Promise<void> {
    const model = this.#model;
    let kept = await this.#kept();
    if (kept && !fits(kept, model)) {
      await this.#db.trainings.update(kept.id, { state: 'aside' });
      this.#announce('aside', kept);
      kept = undefined;
    }
    if (!kept && (kept = await otherwise())) {
      await this.#db.trainings.update(kept.id, { state: 'kept' });
      this.#announce('returned', kept);
    }
    const adapter = kept?.outcome!.adapter ?? null;
    const digest = adapter?.file.digest ?? null;
    if (digest === this.#applied) return;
    try {
      await finish(model.inference.usePersonal(adapter));
      this.#applied = digest;
      model.personal = digest;
    } catch (error) {
      if (!kept) throw error;
      await this.#db.trainings.update(kept.id, { state: 'aside', error: errorNote(error) });
      this.#announce('lost', kept);
    }
  }
}
