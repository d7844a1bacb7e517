// Which release this device answers with: follows the signed channel, brings adapters here, swaps them
// between two replies, and goes back when one fails. Verification is the feed's business, not this file's.
import {
  isStale,
  RapportError,
  wantedRelease,
  type Channel,
  type Golden,
  type Release,
} from '@rapport/core';
import type { Database } from '../db/database.ts';
import { errorNote, type ErrorNote } from '../db/error-note.ts';
import { recall, remember } from '../db/database.ts';
import { reportRelease } from '../sync/judgement.ts';
import { finish } from '../workers/channel.ts';
import type { AdapterRef } from '../workers/inference.ts';
import type { Model, Rival, Speaker } from './model.svelte.ts';
import type { ReleaseFeed } from './release-feed.ts';

/** What the page keeps of a verified release. */
export interface ReleaseFacts {
  id: string;
  /** Digest of the model it speaks by; not known of what earlier versions of the page kept. */
  base?: string;
  adapter: AdapterRef | null;
  golden: Golden | null;
  /** Judgements it learned from, and how many of them this device sent. */
  votes: number;
  mine: number;
}

/** Tells the person that something changed. */
export type Announce = (what: 'new' | 'halted', release: ReleaseFacts | null) => void;

/** The bare model. */
const BASE = 'base';
const LOOK_EVERY_MS = 60_000;
const FAILURES_KEY = 'release-failures';
const INSTALLED_KEY = 'release';
const PREVIOUS_KEY = 'release-before';
const FAILURES_ALLOWED = 2;

export class Releases {
  /** The channel has expired: the current model is kept and the page says so. */
  stale = $state(false);
  /** Why a release was refused, if one was. */
  problem = $state.raw<ErrorNote | null>(null);
  current = $state.raw<ReleaseFacts | null>(null);
  readonly learned = $derived(
    this.current && { votes: this.current.votes, mine: this.current.mine },
  );
  readonly #db: Database;
  readonly #model: Model;
  readonly #feed: ReleaseFeed;
  readonly #announce: Announce;
  #next: ReleaseFacts | typeof BASE | null = null;
  /** Withdrawn releases, as the channel last said: they do not speak, not even to be compared with. */
  #blocked: readonly string[] = [];
  #looking = false;
  #swapping: Promise<void> = Promise.resolve();

  constructor(db: Database, model: Model, feed: ReleaseFeed, announce: Announce = () => {}) {
    this.#db = db;
    this.#model = model;
    this.#feed = feed;
    this.#announce = announce;
    model.beforeReply = () => this.#swap();
  }

  /** The release of last time speaks again. Call it when the model is open, before the first reply. */
  async restore(): Promise<void> {
    this.#next ??= (await recall<ReleaseFacts>(this.#db, INSTALLED_KEY)) ?? null;
    await this.#swap();
  }

  /** Follows the channel for as long as the page lives. */
  follow(): void {
    const look = () => void this.look();
    look();
    setInterval(look, LOOK_EVERY_MS);
    addEventListener('online', look);
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') look();
    });
  }

  /** Asks the channel once; prepares the release it wants. Never throws. */
  async look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      const channel = await this.#feed.channel();
      this.problem = null;
      this.stale = isStale(channel, Date.now());
      this.#blocked = channel.blocked;
      if (!this.stale) await this.#prepare(await this.#wanted(channel));
    } catch (error) {
      if (navigator.onLine) this.problem = errorNote(error);
    } finally {
      this.#looking = false;
    }
  }

  async #wanted(channel: Channel): Promise<string> {
    const { candidate } = channel;
    const bucket = candidate ? await this.#feed.bucket(candidate.salt) : 1;
    const failures = await this.#failures();
    const failed = Object.keys(failures).filter((id) => failures[id]! >= FAILURES_ALLOWED);
    const wanted = (not: readonly string[]) =>
      wantedRelease(channel, bucket, this.current?.id ?? BASE, new Set(not));
    const first = wanted(failed);
    // A candidate on another base waits until that base is everybody's: one page opens one model.
    const cannot = first === candidate?.release && !(await this.#fits(first));
    return cannot ? wanted([...failed, first]) : first;
  }

  async #fits(id: string): Promise<boolean> {
    const { base } = await this.#feed.release(id);
    return base.digest === this.#model.manifest?.digest;
  }

  /** Brings the adapter of a release here, so that the swap itself takes no time. */
  async #prepare(id: string): Promise<void> {
    if (id === (this.current?.id ?? BASE)) {
      // What was prepared until now is not wanted any more.
      this.#next = null;
      return;
    }
    if (id === BASE) {
      this.#next = BASE;
    } else {
      const document = await this.#feed.release(id);
      if (document.base.digest !== this.#model.manifest?.digest) throw otherBase(id);
      const mine = await this.#feed.mine(id).catch(() => 0);
      const release = factsOf(id, document, mine);
      if (release.adapter) await finish(this.#model.inference.fetchAdapter(release.adapter));
      this.#next = release;
    }
    await this.#swapWhenIdle();
  }

  /** At once, unless a reply is being spoken: then before the next one. */
  async #swapWhenIdle(): Promise<void> {
    if (this.#model.phase === 'ready' && !this.#model.speaking) await this.#swap();
  }

  /** One swap at a time: a reply that begins meanwhile waits for it. Never rejects: what failed is the `problem`. */
  #swap(): Promise<void> {
    this.#swapping = this.#swapping
      .then(() => this.#swapNow())
      .catch((error: unknown) => void (this.problem = errorNote(error)));
    return this.#swapping;
  }

  /** Between two replies: loads what was prepared, tests it, and falls back when it fails. */
  async #swapNow(): Promise<void> {
    if (this.#next === null) return;
    const release = this.#next === BASE ? null : this.#next;
    const before = this.current;
    this.#next = null;
    try {
      await this.#load(release);
    } catch (error) {
      await this.#fellThrough(release, error as Error);
      return;
    }
    await this.#settle(release, before);
  }

  async #load(release: ReleaseFacts | null): Promise<void> {
    const { inference } = this.#model;
    await finish(inference.useAdapter(release?.adapter ?? null));
    if (release?.golden) await finish(inference.checkGolden(release.golden));
    this.current = release;
    this.#model.speaker = speakerOf(release);
  }

  /** What follows once a release speaks; whatever fails of it, the release does not. */
  async #settle(release: ReleaseFacts | null, before: ReleaseFacts | null): Promise<void> {
    const installed = await recall<ReleaseFacts>(this.#db, INSTALLED_KEY).catch(() => undefined);
    // Told before the personal adapter is asked whether it fits, which may be the greater news.
    if (release && installed?.id !== release.id) this.#announce('new', release);
    if (!release && before) this.#announce('halted', null);
    await this.#model.personalise?.();
    const isNew = release?.id !== installed?.id;
    const previous = isNew
      ? (installed ?? null)
      : ((await recall<ReleaseFacts>(this.#db, PREVIOUS_KEY)) ?? null);
    await remember(this.#db, INSTALLED_KEY, release);
    await remember(this.#db, PREVIOUS_KEY, previous);
    this.#model.rival = release ? this.#rivalOf(previous) : null;
    if (release) await this.#forgive(release.id);
    const adapters = [release, previous].flatMap((each) => each?.adapter?.file.digest ?? []);
    await finish(this.#model.inference.keepOnly([...(await this.#model.files()), ...adapters]));
  }

  /** What spoke before, to be compared with: a release, or with null the bare base. */
  #rivalOf(previous: ReleaseFacts | null): Rival {
    return async (act) => {
      const { inference, manifest } = this.#model;
      if (previous && this.#blocked.includes(previous.id)) throw withdrawn(previous.id);
      if (previous && previous.base !== manifest?.digest) throw otherBase(previous.id);
      await finish(inference.useAdapter(previous?.adapter ?? null));
      try {
        return await act(speakerOf(previous));
      } finally {
        await finish(inference.useAdapter(this.current?.adapter ?? null)).catch((error: Error) =>
          this.#fellThrough(null, error),
        );
      }
    };
  }

  /** Back to what spoke before, or to the bare base where that is gone. */
  async #fellThrough(release: ReleaseFacts | null, error: Error): Promise<void> {
    this.problem = errorNote(error);
    const back = finish(this.#model.inference.useAdapter(this.current?.adapter ?? null));
    await back.catch(() => this.#load(null));
    await this.#model.personalise?.();
    if (release && judges(error)) await this.#blame(release.id, error.message);
  }

  /** After the second failure the server is told. */
  async #blame(id: string, reason: string): Promise<void> {
    const failures = await this.#failures();
    const count = (failures[id] ?? 0) + 1;
    await remember(this.#db, FAILURES_KEY, { ...failures, [id]: count });
    if (count === FAILURES_ALLOWED) await reportRelease(this.#db, id, reason);
  }

  /** A release that speaks has not failed. */
  async #forgive(id: string): Promise<void> {
    const { [id]: _, ...others } = await this.#failures();
    await remember(this.#db, FAILURES_KEY, others);
  }

  async #failures(): Promise<Record<string, number>> {
    return (await recall<Record<string, number>>(this.#db, FAILURES_KEY)) ?? {};
  }
}

const speakerOf = (release: ReleaseFacts | null): Speaker => ({
  id: release?.id ?? BASE,
  adapter: release?.adapter?.file.digest ?? null,
});

/** Whether an error says that the release itself is bad, and not that it could not be tried. */
const judges = (error: Error): boolean =>
  error instanceof RapportError && /^(model\/golden-failed$|adapter\/|weights\/)/.test(error.code);

function factsOf(id: string, release: Release, mine: number): ReleaseFacts {
  const { base, adapter, chunks, golden, dataset } = release;
  return {
    id,
    base: base.digest,
    adapter: adapter
      ? {
          file: { name: 'adapter', digest: adapter.digest, sizeBytes: adapter.size, chunks },
          rank: adapter.rank,
          alpha: adapter.alpha,
          targets: adapter.targets,
        }
      : null,
    golden: golden ?? null,
    votes: dataset.count,
    mine,
  };
}

const withdrawn = (id: string) =>
  new RapportError(
    'releases/withdrawn',
    `Release ${id} was withdrawn.`,
    'The release in use speaks instead.',
  );

function otherBase(id: string): RapportError {
  return new RapportError(
    'releases/other-base',
    `Release ${id} belongs to another base model than the one on this device.`,
    'Reload the page: the new base is fetched then.',
  );
}
