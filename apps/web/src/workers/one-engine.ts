// One engine for all tabs, as a tab sees it: the same methods as the worker's, from whichever tab computes. When that
// one goes away, what was set is set again at the next, and what was asked is asked again.
import { RapportError, type Golden, type SpeakRequest } from '@rapport/core';
import { finish } from './channel.ts';
import { isMoved, type Election, type Line } from './election.ts';
import type {
  AdapterRef,
  Inference,
  ModelManifest,
  OpenedModel,
  OpenRequest,
} from './inference.ts';
import { speakOn } from './speak-on.ts';

/** Where it computes now and, once the model is open there again, how. */
export interface Whereabouts {
  elsewhere: boolean;
  opened?: OpenedModel;
}

type Done = WeakMap<Line, Promise<unknown>>;
interface Call {
  signal?: AbortSignal | undefined;
  /** What comes before it on a line that has not been used yet. */
  ready?: (line: Line) => Promise<unknown>;
  /** What to note when it has succeeded there. */
  then?: (line: Line) => void;
}

export class OneEngine implements Inference {
  readonly #election: Election;
  readonly #tell: (where: Whereabouts) => void;
  #request: OpenRequest | undefined;
  #release: AdapterRef | null = null;
  #personal: AdapterRef | null = null;
  readonly #opened: Done = new WeakMap();
  readonly #released: Done = new WeakMap();
  readonly #voiced: Done = new WeakMap();

  constructor(election: Election, tell: (where: Whereabouts) => void = () => undefined) {
    this.#election = election;
    this.#tell = tell;
    election.moved = ({ elsewhere }) => {
      tell({ elsewhere });
      if (!this.#request) return;
      // So that the next reply need not wait for it; what fails here fails there again.
      finish(this.#again(() => nothing(), { ready: this.#open })).catch(() => undefined);
    };
  }

  isKept(manifest: ModelManifest, signal?: AbortSignal) {
    return this.#again(({ isKept }) => isKept(manifest, signal), { signal });
  }

  fetchModel(manifest: ModelManifest, signal?: AbortSignal) {
    return this.#again(({ fetchModel }) => fetchModel(manifest, signal), { signal });
  }

  fetchAdapter(adapter: AdapterRef, signal?: AbortSignal) {
    return this.#again(({ fetchAdapter }) => fetchAdapter(adapter, signal), { signal });
  }

  keepOnly(digests: string[], signal?: AbortSignal) {
    return this.#again(({ keepOnly }) => keepOnly(digests, signal), { signal });
  }

  openModel(request: OpenRequest, signal?: AbortSignal) {
    const then = (line: Line) => {
      this.#request = request;
      this.#opened.set(line, Promise.resolve());
      this.#speaksWith(line, null, null);
    };
    return this.#again(({ openModel }) => openModel(request, signal), { signal, then });
  }

  useAdapter(adapter: AdapterRef | null, signal?: AbortSignal) {
    const then = (line: Line) => this.#speaksWith(line, adapter, null);
    const call = { signal, ready: this.#open, then };
    return this.#again(({ useAdapter }) => useAdapter(adapter, signal), call);
  }

  usePersonal(adapter: AdapterRef | null, signal?: AbortSignal) {
    const then = (line: Line) => this.#speaksWith(line, this.#release, adapter);
    const call = { signal, ready: this.#useRelease, then };
    return this.#again(({ usePersonal }) => usePersonal(adapter, signal), call);
  }

  checkGolden(golden: Golden, signal?: AbortSignal) {
    const call = { signal, ready: this.#useBoth };
    return this.#again(({ checkGolden }) => checkGolden(golden, signal), call);
  }

  speak(request: SpeakRequest, signal?: AbortSignal) {
    const call = { signal, ready: this.#useBoth };
    const around = {
      signal,
      speak: (asked: SpeakRequest) => this.#once(({ speak }) => speak(asked, signal), call),
      gone: (error: unknown) => this.#canAskAgain(error) || (signal?.aborted ?? false),
    };
    return speakOn(request, around);
  }

  /** Asks until there is an answer. */
  async *#again<Y, R>(
    act: (inference: Inference) => AsyncGenerator<Y, R>,
    call: Call,
  ): AsyncGenerator<Y, R> {
    for (;;) {
      try {
        return yield* this.#once(act, call);
      } catch (error) {
        if (!this.#canAskAgain(error)) throw error;
      }
    }
  }

  #once<Y, R>(
    act: (inference: Inference) => AsyncGenerator<Y, R>,
    { signal, ready, then }: Call,
  ): AsyncGenerator<Y, R> {
    return this.#election.call(async function* (line) {
      if (ready) await unlessAborted(ready(line), signal);
      const result = yield* act(line.inference);
      then?.(line);
      return result;
    }, signal);
  }

  /** Another engine computes by now, or one of this tab's own will. */
  #canAskAgain(error: unknown): boolean {
    if (isMoved(error)) return true;
    if (!(error instanceof RapportError) || error.code !== 'workers/other-model') return false;
    this.#election.computeHere();
    return true;
  }

  #open = (line: Line) =>
    onceOn(line, this.#opened, async () => {
      if (!this.#request) return;
      const again = { ...this.#request, again: true };
      const opened = await finish(line.inference.openModel(again));
      this.#tell({ elsewhere: line.elsewhere, opened });
    });

  #useRelease = async (line: Line) => {
    await this.#open(line);
    await onceOn(line, this.#released, async () => {
      if (this.#release) await finish(line.inference.useAdapter(this.#release));
    });
  };

  #useBoth = async (line: Line) => {
    await this.#useRelease(line);
    await onceOn(line, this.#voiced, async () => {
      if (this.#personal) await finish(line.inference.usePersonal(this.#personal));
    });
  };

  #speaksWith(line: Line, release: AdapterRef | null, personal: AdapterRef | null): void {
    this.#release = release;
    this.#personal = personal;
    this.#released.set(line, Promise.resolve());
    this.#voiced.set(line, Promise.resolve());
  }
}

/** Done once on each line; what failed is tried again. */
function onceOn(line: Line, done: Done, work: () => Promise<void>): Promise<unknown> {
  let doing = done.get(line);
  if (!doing) {
    doing = work();
    done.set(line, doing);
    doing.catch(() => done.delete(line));
  }
  return doing;
}

async function unlessAborted(work: Promise<unknown>, signal?: AbortSignal): Promise<void> {
  const aborted = new Promise<never>((_, reject) => {
    if (signal?.aborted) reject(signal.reason as Error);
    signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
  await Promise.race([work, aborted]);
}

async function* nothing(): AsyncGenerator<never, void> {}
