// Which engine this tab computes with. The tab that holds the lock hosts it; all others reach it by mail, and one of them
// is the next to hold the lock. It knows no model: only that an engine can be started, and that it can go away.
import { RapportError } from '@rapport/core';
import { connect, finish } from './channel.ts';
import type { Inference, InferenceService, OpenRequest } from './inference.ts';
import { portToEngine, tabLock, type Channel, type OpenChannel } from './mail.ts';

/** Held by the tab that hosts the engine, for as long as it lives. */
const HOST_LOCK = 'rapport-engine';
/** What tabs say to all others. */
const COMMON = 'rapport-engine';
/** A host that has not answered twice in this time is frozen, or hangs. */
const PATIENCE_MS = 5000;

/** An engine that has been started in this tab. */
export interface StartedEngine {
  /** Under this name other tabs write to it. */
  readonly name: string;
  readonly inference: Inference;
  /** Ends it; what it was asked and what it will be asked throws this. */
  end(error: Error): void;
}

/** What a started engine tells. */
export interface EngineEvents {
  /** Other tabs can write to it. */
  listening: () => void;
  /** It stopped, and nothing more will come of it. */
  crashed: (error: RapportError) => void;
  /** Another one is wanted, that opens the model in another way. */
  replace: (request: OpenRequest) => void;
}

export interface Surroundings {
  /** Resolves when this tab has the lock; it keeps it for as long as it lives. */
  hold: (lock: string) => Promise<unknown>;
  open: OpenChannel;
  start: (events: EngineEvents) => StartedEngine;
  wait: (ms: number) => Promise<unknown>;
}

/** The way to an engine. */
export interface Line {
  readonly name: string;
  readonly inference: Inference;
  /** It computes in another tab. */
  readonly elsewhere: boolean;
  /** Calls that run and calls that come throw this. */
  cut(error: Error): void;
}

type Word =
  | { kind: 'who' }
  | { kind: 'host'; engine: string | null }
  | { kind: 'crashed'; engine: string; error: { code: string; message: string; remedy: string } };

export class Election {
  /** Called with every new way to an engine. */
  moved: (line: Line) => void = () => undefined;
  readonly #tab: string;
  readonly #around: Surroundings;
  readonly #common: Channel;
  #line: Line | undefined;
  /** The engine in this tab: as the host, or because the host does not answer. */
  #own: StartedEngine | undefined;
  #listening = false;
  #hosting = false;
  /** Others can know whether this tab still lives: it may write to an engine. */
  #present = false;
  #heard = false;
  #calls = 0;
  #asking = false;
  #waiting: (() => void)[] = [];

  constructor(tab: string, around: Surroundings) {
    this.#tab = tab;
    this.#around = around;
    this.#common = around.open(COMMON);
    this.#common.addEventListener('message', ({ data }: MessageEvent<Word>) => this.#hear(data));
    void around.hold(tabLock(tab)).then(() => {
      this.#present = true;
      this.#say({ kind: 'who' });
    });
    void around.hold(HOST_LOCK).then(() => this.#host());
  }

  /** One call on the engine of now. Throws `workers/moved` when the engine goes away meanwhile. */
  async *call<Y, R>(
    act: (line: Line) => AsyncGenerator<Y, R>,
    signal?: AbortSignal,
  ): AsyncGenerator<Y, R> {
    this.#calls++;
    void this.#askAfterHost();
    try {
      return yield* act(await this.#reach(signal));
    } finally {
      this.#calls--;
    }
  }

  /** From now on this tab has an engine of its own, if it had none. */
  computeHere(): void {
    if (!this.#own) this.#start();
  }

  async #reach(signal?: AbortSignal): Promise<Line> {
    if (this.#hosting) this.computeHere();
    if (!this.#line) this.#say({ kind: 'who' });
    while (!this.#line) {
      signal?.throwIfAborted();
      await new Promise<void>((wake) => {
        this.#waiting.push(wake);
        signal?.addEventListener('abort', () => wake(), { once: true });
      });
    }
    return this.#line;
  }

  /** While something is asked of another tab: does that tab still answer? */
  async #askAfterHost(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    let missed = 0;
    while (this.#calls > 0 && !this.#own) {
      this.#heard = false;
      this.#say({ kind: 'who' });
      await this.#around.wait(PATIENCE_MS);
      missed = this.#heard ? 0 : missed + 1;
      if (missed === 2) this.computeHere();
    }
    this.#asking = false;
  }

  #hear(word: Word): void {
    if (word.kind === 'who') {
      if (!this.#hosting) return;
      this.computeHere();
      return this.#announce();
    }
    if (this.#own || !this.#present) return;
    if (word.kind === 'host') {
      this.#heard = true;
      if (word.engine !== null && word.engine !== this.#line?.name) this.#join(word.engine);
    } else if (word.engine === this.#line?.name) {
      const { code, message, remedy } = word.error;
      this.#hangUp(new RapportError(code, message, remedy));
    }
  }

  #host(): void {
    this.#hosting = true;
    this.computeHere();
    this.#announce();
  }

  #announce(): void {
    if (this.#hosting)
      this.#say({ kind: 'host', engine: this.#listening ? this.#own!.name : null });
  }

  #join(engine: string): void {
    const port = portToEngine(this.#around.open, this.#tab, engine);
    let fail!: (error: Error) => void;
    const inference = connect<InferenceService>(port, (told) => (fail = told));
    const cut = (error: Error) => {
      fail(error);
      port.close();
    };
    this.#move({ name: engine, inference, elsewhere: true, cut });
  }

  #start(request?: OpenRequest): void {
    const own = this.#around.start({
      listening: () => {
        if (own !== this.#own) return;
        this.#listening = true;
        this.#announce();
      },
      crashed: (error) => {
        if (own === this.#own) this.#crashed(own, error);
      },
      replace: (wanted) => {
        if (own === this.#own) this.#start(wanted);
      },
    });
    this.#own = own;
    this.#listening = false;
    // Before any other tab asks for anything.
    if (request) finish(own.inference.openModel(request)).catch(() => undefined);
    const { name, inference } = own;
    this.#move({ name, inference, elsewhere: false, cut: (error) => own.end(error) });
  }

  /** What it was asked fails, since it may be why it crashed; the next call starts another. */
  #crashed({ name }: StartedEngine, error: RapportError): void {
    const { code, message, remedy } = error;
    this.#own = undefined;
    if (this.#hosting)
      this.#say({ kind: 'crashed', engine: name, error: { code, message, remedy } });
    this.#hangUp(error);
  }

  #hangUp(error: Error): void {
    const line = this.#line;
    this.#line = undefined;
    line?.cut(error);
  }

  #move(line: Line): void {
    const before = this.#line;
    this.#line = line;
    before?.cut(moved());
    for (const wake of this.#waiting.splice(0)) wake();
    this.moved(line);
  }

  #say(word: Word): void {
    this.#common.postMessage(word);
  }
}

/** Whether a call failed because its engine went away: it can be made again. */
export const isMoved = (error: unknown): boolean =>
  error instanceof RapportError && error.code === 'workers/moved';

/** Whether a call failed because the engine that it was asked of died at its work. */
export const hasCrashed = (error: unknown): boolean =>
  error instanceof RapportError && error.code === 'workers/crashed';

const moved = () =>
  new RapportError('workers/moved', 'Another engine computes from now on.', 'Ask it again.');
