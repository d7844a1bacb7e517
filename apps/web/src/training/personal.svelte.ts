// The personal adapter that speaks with the release: kept, undone, set aside when another release comes.
// Dexie says which one is kept; every tab follows it between two replies.
import { liveQuery } from 'dexie';
import { blobSource, readPeft, writePeft } from '@rapport/core';
import { SPEAKING_LOCK } from '../chat/chat.svelte.ts';
import type { Database } from '../db/database.ts';
import type { Model } from '../model/model.svelte.ts';
import { WeightStore } from '../model/weight-store.ts';
import { finish } from '../workers/channel.ts';
import type { AdapterRef } from '../workers/inference.ts';
import type { TrainingRun } from './rows.ts';

/** Tells the person that their adapter no longer speaks. */
export type AnnounceAside = (why: 'release' | 'lost') => void;

export class Personal {
  readonly #db: Database;
  readonly #model: Model;
  readonly #announce: AnnounceAside;
  /** Ends what borrowed the voice: the person has chosen. */
  interrupt: (() => void) | undefined;
  /** Digest of the adapter that the inference worker adds now. */
  #applied: string | null = null;
  #applying: Promise<void> = Promise.resolve();

  constructor(db: Database, model: Model, announce: AnnounceAside = () => {}) {
    this.#db = db;
    this.#model = model;
    this.#announce = announce;
    model.personalise = () => {
      // A release has just been loaded, and nothing personal with it.
      this.#applied = null;
      model.personal = null;
      return this.#apply();
    };
  }

  /** Speaks with what is kept, then follows it; call once the release speaks. */
  async start(): Promise<void> {
    await this.#apply();
    liveQuery(() => this.#kept()).subscribe((kept) => {
      if ((kept?.outcome?.adapter.file.digest ?? null) !== this.#applied) void this.#whenSilent();
    });
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

  #whenSilent(): Promise<void> {
    this.interrupt?.();
    return navigator.locks.request(SPEAKING_LOCK, () => this.#apply());
  }

  /** One at a time, since a release may be loaded while the person chooses. */
  #apply(): Promise<void> {
    this.#applying = this.#applying.then(() => this.#applyNow());
    return this.#applying;
  }

  async #applyNow(): Promise<void> {
    const model = this.#model;
    const kept = await this.#kept();
    if (kept && kept.release !== model.speaker.id) {
      await this.#db.trainings.update(kept.id, { state: 'aside' });
      this.#announce('release');
    }
    const adapter = kept?.release === model.speaker.id ? kept.outcome!.adapter : null;
    const digest = adapter?.file.digest ?? null;
    if (digest === this.#applied) return;
    try {
      await finish(model.inference.usePersonal(adapter));
      this.#applied = digest;
      model.personal = digest;
    } catch {
      await this.#db.trainings.update(kept!.id, { state: 'aside' });
      this.#announce('lost');
    }
  }
}
