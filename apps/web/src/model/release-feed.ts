// The server's signed documents, fetched and verified. The first root that signed itself is trusted and
// pinned; from then on only what that root, or its rightful successors, signed is believed.
import {
  acceptChannel,
  acceptRelease,
  acceptRoot,
  bucketOf,
  RapportError,
  type Channel,
  type Release,
  type Root,
} from '@rapport/core';
import { recall, remember, type Database } from '../db/database.ts';
import { uuidv7 } from '../db/uuid.ts';
import { DEVICE_KEY, type Device } from '../sync/sender.ts';

/** Verified documents. Every method throws rather than give anything that does not verify. */
export interface ReleaseFeed {
  /** The newest channel; the last one known when the server cannot be reached. */
  channel(): Promise<Channel>;
  release(id: string): Promise<Release>;
  /** This device's place in [0, 1) under a salt. */
  bucket(salt: string): Promise<number>;
  /** How many of this device's judgements a release learned from. */
  mine(id: string): Promise<number>;
}

const ROOT_KEY = 'root';
const CHANNEL_KEY = 'channel';
const BUCKET_KEY = 'bucket-id';

/** The feed of our own server. */
export class ServerFeed implements ReleaseFeed {
  readonly #db: Database;
  readonly #fetch: typeof globalThis.fetch;

  constructor(
    db: Database,
    fetch: typeof globalThis.fetch = (...call) => globalThis.fetch(...call),
  ) {
    this.#db = db;
    this.#fetch = fetch;
  }

  async channel(): Promise<Channel> {
    const known = (await recall<Channel>(this.#db, CHANNEL_KEY)) ?? null;
    let answer: { root: unknown; channel: unknown };
    try {
      answer = (await this.#get('/v1/channel')) as typeof answer;
    } catch (error) {
      if (known && isUnreachable(error)) return known;
      throw error;
    }
    const channel = await acceptChannel(known, answer.channel, await this.#root(answer.root));
    await remember(this.#db, CHANNEL_KEY, channel);
    return channel;
  }

  async release(id: string): Promise<Release> {
    const root = await this.#root(await this.#get('/v1/root'));
    return acceptRelease(id, await this.#get(`/v1/releases/${id}`), root);
  }

  async bucket(salt: string): Promise<number> {
    let id = await recall<string>(this.#db, BUCKET_KEY);
    if (!id) {
      id = (await recall<Device>(this.#db, DEVICE_KEY))?.device ?? uuidv7();
      await remember(this.#db, BUCKET_KEY, id);
    }
    return bucketOf(salt, id);
  }

  async mine(id: string): Promise<number> {
    const device = await recall<Device>(this.#db, DEVICE_KEY);
    if (!device) return 0;
    const headers = { Authorization: `Bearer ${device.token}` };
    const response = await this.#fetch(`/v1/releases/${id}/mine`, { headers });
    if (!response.ok) return 0;
    return Number(((await response.json()) as { votes: unknown }).votes) || 0;
  }

  /** Walks from the pinned root to the newest, one version at a time. */
  async #root(newest: unknown): Promise<Root> {
    let pinned = (await recall<Root>(this.#db, ROOT_KEY)) ?? null;
    const target = Number((newest as { signed?: { version?: unknown } }).signed?.version) || 0;
    while (pinned && pinned.version + 1 < target) {
      const step = await this.#get(`/v1/root/${pinned.version + 1}`);
      pinned = await acceptRoot(pinned, step, Date.now());
    }
    const root = await acceptRoot(pinned, newest, Date.now());
    await remember(this.#db, ROOT_KEY, root);
    return root;
  }

  async #get(path: string): Promise<unknown> {
    const response = await this.#fetch(path, { cache: 'no-cache' });
    if (response.ok) return response.json();
    throw new RapportError(
      response.status >= 500 ? 'releases/unreachable' : 'releases/refused',
      `The server answered ${response.status} for ${path}.`,
      'Nothing is lost: the current model is kept.',
    );
  }
}

function isUnreachable(error: unknown): boolean {
  return (
    error instanceof TypeError ||
    (error instanceof RapportError && error.code === 'releases/unreachable')
  );
}
