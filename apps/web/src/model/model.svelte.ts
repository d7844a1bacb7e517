// The model as the page sees it: on its way, opening, ready, or why not; and how fast it speaks.
// It asks the inference worker for everything heavy and never touches weights itself.
import { RapportError, type SpokenReply } from '@rapport/core';
import { recall, remember, type Database } from '../db/database.ts';
import { errorNote, type ErrorNote } from '../db/error-note.ts';
import { finish } from '../workers/channel.ts';
import { hasCrashed } from '../workers/election.ts';
import type {
  BackendChoice,
  FetchProgress,
  Inference,
  ModelManifest,
  OpenedModel,
} from '../workers/inference.ts';
import type { Whereabouts } from '../workers/one-engine.ts';
import { lasting, type KeptVerdict } from '../workers/verdict.ts';
import { fetchManifest } from './manifest.ts';
import { beginOpening, forgetCrash } from './opening.ts';
import { Pace, TokenMeter } from './pace.ts';

export type Phase = 'looking' | 'paused' | 'fetching' | 'opening' | 'ready' | 'failed';

/** Who speaks: "base" for the bare model; `adapter` names a personal one as `personal:<digest>`. */
export interface Speaker {
  id: string;
  adapter: string | null;
}

/** Runs `act` while another release speaks. Rejects when that one cannot. */
export type Rival = (act: (speaker: Speaker) => Promise<SpokenReply[]>) => Promise<SpokenReply[]>;

/** The base that opened last, and one that the server has named since. */
const MANIFEST_KEY = 'model-manifest';
const NEWER_KEY = 'model-manifest-newer';
const BACKEND_KEY = 'backend';
const VERDICT_KEY = 'backend-verdict';
/** Its address has a hash of everything that it is built with. */
const BUILD = import.meta.url;
/** A network that is there but dead must not keep a model that is here from opening. */
const ANSWER_WITHIN_MS = 4000;

export class Model {
  phase = $state<Phase>('looking');
  manifest = $state.raw<ModelManifest | null>(null);
  progress = $state.raw<FetchProgress | null>(null);
  bytesPerSecond = $state(0);
  opened = $state.raw<OpenedModel | null>(null);
  /** Another tab computes for this one. */
  elsewhere = $state(false);
  error = $state.raw<ErrorNote | null>(null);
  tokensPerSecond = $state(0);
  /** True while a reply is being spoken: no release is swapped then. */
  speaking = false;
  backend = $state<BackendChoice>('auto');
  speaker = $state.raw<Speaker>({ id: 'base', adapter: null });
  /** Digest of the personal adapter that speaks with the release. */
  personal = $state<string | null>(null);
  readonly secondsLeft = $derived.by(() => {
    const { progress, bytesPerSecond } = this;
    if (!progress || bytesPerSecond <= 0) return null;
    return (progress.totalBytes - progress.receivedBytes) / bytesPerSecond;
  });
  /** Runs when the model is open, before any reply: what spoke last time speaks again. */
  restore: (() => Promise<void>) | undefined;
  /** Runs between two replies, when the model is ready: where a new release is swapped in. */
  beforeReply: (() => Promise<void>) | undefined;
  /** Runs when a release has been loaded, which speaks alone at first. */
  personalise: (() => Promise<void>) | undefined;
  /** Lets the release before this one speak while `act` runs; null where none is at hand. */
  rival: Rival | null = null;
  readonly inference: Inference;
  readonly #db: Database;
  #waiting: (() => void)[] = [];
  #controller: AbortController | null = null;

  constructor(db: Database, inference: Inference) {
    this.#db = db;
    this.inference = inference;
  }

  /** Finds the model, brings it here if it is not, and opens it. Safe to call again after a failure. */
  async start(): Promise<void> {
    const controller = new AbortController();
    const { signal } = controller;
    this.#controller = controller;
    this.error = null;
    try {
      this.backend = (await recall<BackendChoice>(this.#db, BACKEND_KEY)) ?? 'auto';
      const latest = fetchManifest(signal);
      latest.catch(() => undefined); // It is awaited when it is needed at all.
      const { manifest, spare } = await this.#choose(latest);
      try {
        await this.#bring(manifest, signal);
      } catch (error) {
        if (!spare || signal.aborted) throw error;
        await this.#bring(spare, signal);
      }
      await this.#noteManifests(latest);
      await this.restore?.();
      this.phase = 'ready';
    } catch (error) {
      this.#fail(error, signal.aborted);
    } finally {
      this.#wakeAll();
    }
  }

  /** Stops the download; what has arrived is kept. */
  pause(): void {
    this.#controller?.abort();
  }

  /** Digests of the files of this model and of one that a later start may open. */
  async files(): Promise<string[]> {
    const kept = await recall<ModelManifest>(this.#db, MANIFEST_KEY);
    const newer = await recall<ModelManifest>(this.#db, NEWER_KEY);
    return [this.manifest, kept, newer].flatMap(
      (manifest) => manifest?.files.map(({ digest }) => digest) ?? [],
    );
  }

  /** Takes note of where the engine is now, and of how it computes there. */
  computesAt({ elsewhere, opened }: Whereabouts): void {
    this.elsewhere = elsewhere;
    if (opened) this.opened = opened;
  }

  /** Chooses the backend for this device; takes effect when the page is loaded again. */
  async chooseBackend(backend: BackendChoice): Promise<void> {
    this.backend = backend;
    await remember(this.#db, BACKEND_KEY, backend);
    await forgetCrash(this.#db);
  }

  /**
   * Runs `act` with the release that speaks next, once the model is ready; no release is swapped
   * meanwhile. Call `onToken` for each token. Rejects with why no reply can be made.
   */
  async speakWith(
    signal: AbortSignal,
    act: (speaker: Speaker, onToken: () => void) => Promise<SpokenReply[]>,
  ): Promise<void> {
    await this.#untilReady(signal);
    this.speaking = true;
    try {
      await this.beforeReply?.();
      const meter = new TokenMeter();
      const onToken = () => (this.tokensPerSecond = meter.see(performance.now()));
      const said = await act(this.#voice(), onToken);
      if (said.length === 1) this.tokensPerSecond = said[0]!.timing.tokensPerSecond;
    } finally {
      this.speaking = false;
    }
  }

  #voice(): Speaker {
    const { id } = this.speaker;
    return this.personal ? { id, adapter: `personal:${this.personal}` } : this.speaker;
  }

  async #untilReady(signal: AbortSignal): Promise<void> {
    while (this.phase !== 'ready') {
      signal.throwIfAborted();
      if (this.phase === 'failed' || this.phase === 'paused') throw this.#absent();
      await new Promise<void>((wake) => {
        this.#waiting.push(wake);
        signal.addEventListener('abort', () => wake(), { once: true });
      });
    }
  }

  /**
   * A kept model opens at once, with or without a network; otherwise the server is asked. A newer one that it has named
   * comes first where it can, with the kept one to spare.
   */
  async #choose(
    latest: Promise<ModelManifest>,
  ): Promise<{ manifest: ModelManifest; spare?: ModelManifest }> {
    const kept = await recall<ModelManifest>(this.#db, MANIFEST_KEY);
    if (!kept || !(await finish(this.inference.isKept(kept)))) {
      const manifest = await latest;
      await remember(this.#db, MANIFEST_KEY, manifest);
      return { manifest };
    }
    const newer = await recall<ModelManifest>(this.#db, NEWER_KEY);
    if (!newer || newer.digest === kept.digest) return { manifest: kept };
    if (await finish(this.inference.isKept(newer))) return { manifest: newer, spare: kept };
    const silence = new Promise<null>((over) => setTimeout(over, ANSWER_WITHIN_MS, null));
    const named = await Promise.race([latest.catch(() => null), silence]);
    if (!named || named.digest === kept.digest) return { manifest: kept };
    return { manifest: named, spare: kept };
  }

  /** Fetches what is missing of a model, and opens it. */
  async #bring(manifest: ModelManifest, signal: AbortSignal): Promise<void> {
    this.manifest = manifest;
    if (!(await finish(this.inference.isKept(manifest)))) {
      this.phase = 'fetching';
      await this.#fetch(manifest, signal);
    }
    await this.#open(manifest);
  }

  /** What has opened is what opens next time; what the server names comes to it when it does. */
  async #noteManifests(latest: Promise<ModelManifest>): Promise<void> {
    const { digest } = this.manifest!;
    await remember(this.#db, MANIFEST_KEY, this.manifest);
    latest.then(
      (named) => remember(this.#db, NEWER_KEY, named.digest === digest ? null : named),
      () => undefined,
    );
  }

  async #fetch(manifest: ModelManifest, signal: AbortSignal): Promise<void> {
    const pace = new Pace();
    await finish(this.inference.fetchModel(manifest, signal), (progress) => {
      this.progress = progress;
      this.bytesPerSecond = pace.see(progress.freshBytes, performance.now());
    });
  }

  async #open(manifest: ModelManifest): Promise<void> {
    this.phase = 'opening';
    const backend = this.backend;
    const verdict = lasting(await recall<KeptVerdict>(this.#db, VERDICT_KEY), BUILD, Date.now());
    const { afterCrash, end } = await beginOpening(this.#db);
    const request = { manifest, backend, verdict, afterCrash };
    const opening = finish(this.inference.openModel(request));
    await opening.then(
      () => end(),
      (error) => end(hasCrashed(error)),
    );
    const opened = await opening;
    this.opened = opened;
    if (opened.reason === 'fell-back') await remember(this.#db, VERDICT_KEY, null);
    else if (opened.verdict?.calm && !verdict) {
      const kept: KeptVerdict = { ...opened.verdict, build: BUILD, atMs: Date.now() };
      await remember(this.#db, VERDICT_KEY, kept);
    }
  }

  #fail(error: unknown, paused: boolean): void {
    this.phase = paused ? 'paused' : 'failed';
    if (paused) return;
    this.error = errorNote(error);
  }

  #absent(): RapportError {
    return new RapportError(
      this.error?.code ?? 'model/absent',
      this.error?.message ?? 'The model is not on this device yet.',
      this.error?.remedy || 'Resume the download, then try again.',
    );
  }

  #wakeAll(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}
