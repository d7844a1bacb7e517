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
import type { Model } from './model.svelte.ts';
import type { ReleaseFeed } from './release-feed.ts';

/** What the page keeps of a verified release. */
export interface ReleaseFacts {
  id: string;
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
  #next: ReleaseFacts | 'base' | null = null;
  #looking = false;
  #swapping: Promise<void> = Promise.resolve();

  constructor(db: Database, model: Model, feed: ReleaseFeed, announce: Announce = () => {}) {
    this.#db = db;
    this.#model = model;
    this.#feed = feed;
    this.#announce = announce;
    model.beforeReply = () => this.#swap();
  }

  /** Goes back to the release of last time, then follows the channel for as long as the page lives. */
  async start(): Promise<void> {
    const installed = await recall<ReleaseFacts>(this.#db, INSTALLED_KEY);
    if (installed) {
      this.#next = installed;
      await this.#swapWhenIdle();
    }
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
      this.stale = isStale(channel, Date.now());
      if (!this.stale) await this.#prepare(await this.#wanted(channel));
      this.problem = null;
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
    return wantedRelease(channel, bucket, this.current?.id ?? BASE, new Set(failed));
  }

  /** Brings the adapter of a release here, so that the swap itself takes no time. */
  async #prepare(id: string): Promise<void> {
    if (id === (this.current?.id ?? BASE)) return;
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

  /** One swap at a time: a reply that begins meanwhile waits for it. */
  #swap(): Promise<void> {
    this.#swapping = this.#swapping.then(() => this.#swapNow());
    return this.#swapping;
  }

  /** Between two replies: loads what was prepared, tests it, and falls back when it fails. */
  async #swapNow(): Promise<void> {
    const next = this.#next;
    this.#next = null;
    if (next === null) return;
    if (next === BASE) {
      const halted = this.current !== null;
      await this.#load(null, halted ? 'halted' : null);
      return;
    }
    try {
      const known = (await recall<ReleaseFacts>(this.#db, INSTALLED_KEY))?.id === next.id;
      await this.#load(next, known ? null : 'new');
    } catch (error) {
      await this.#fellThrough(next, error as Error);
    }
  }

  /** `news` is told before the personal adapter is asked whether it fits, which may be the greater news. */
  async #load(release: ReleaseFacts | null, news: 'new' | 'halted' | null): Promise<void> {
    const { inference } = this.#model;
    await finish(inference.useAdapter(release?.adapter ?? null));
    if (release?.golden) await finish(inference.checkGolden(release.golden));
    this.current = release;
    this.#model.speaker = release
      ? { id: release.id, adapter: release.adapter?.file.digest ?? null }
      : { id: BASE, adapter: null };
    if (news) this.#announce(news, release);
    await this.#model.personalise?.();
    await remember(this.#db, INSTALLED_KEY, release);
    const base = this.#model.manifest?.files.map(({ digest }) => digest) ?? [];
    const adapter = release?.adapter ? [release.adapter.file.digest] : [];
    await finish(inference.keepOnly([...base, ...adapter]));
  }

  /** Back to what spoke before; after the second failure the server is told. */
  async #fellThrough(release: ReleaseFacts, error: Error): Promise<void> {
    this.problem = errorNote(error);
    const failures = await this.#failures();
    const count = (failures[release.id] ?? 0) + 1;
    await remember(this.#db, FAILURES_KEY, { ...failures, [release.id]: count });
    await finish(this.#model.inference.useAdapter(this.current?.adapter ?? null));
    await this.#model.personalise?.();
    if (count === FAILURES_ALLOWED) await reportRelease(this.#db, release.id, error.message);
  }

  async #failures(): Promise<Record<string, number>> {
    return (await recall<Record<string, number>>(this.#db, FAILURES_KEY)) ?? {};
  }
}

function factsOf(id: string, release: Release, mine: number): ReleaseFacts {
  const { adapter, chunks, golden, dataset } = release;
  return {
    id,
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

function otherBase(id: string): RapportError {
  return new RapportError(
    'releases/other-base',
    `Release ${id} belongs to another base model than the one on this device.`,
    'Reload the page: the new base is fetched then.',
  );
}
