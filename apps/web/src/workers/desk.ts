// One engine for many tabs: it does one thing at a time, and each tab speaks with the adapters that it chose itself.
// It knows neither how tabs reach it nor where files lie.
import { RapportError, type Adapter } from '@rapport/core';
import { isDeviceLost } from './device-loss.ts';
import type { AdapterRef, InferenceService, OpenedModel, OpenRequest } from './inference.ts';
import type { Speaker } from './speaker.ts';

/** What tabs ask of the engine itself. */
export type Spoken = Pick<
  InferenceService,
  'openModel' | 'speak' | 'useAdapter' | 'usePersonal' | 'checkGolden'
>;

type Part = 'release' | 'personal';
type Chosen = Record<Part, { digest: string; adapter: Adapter } | null>;

interface Parts {
  speaker: Pick<Speaker, 'use' | 'speak' | 'checkGolden'>;
  open: (request: OpenRequest) => Promise<OpenedModel>;
  /** Reads an adapter from its file. */
  read: (adapter: AdapterRef, part: Part) => Promise<Adapter>;
  /** Has this engine ended, and another begun with that request. */
  replace: (request: OpenRequest) => void;
}

export class Desk {
  readonly #parts: Parts;
  readonly #seats = new Set<Chosen>();
  #opened: { request: OpenRequest; model: OpenedModel } | undefined;
  #turn: Promise<void> = Promise.resolve();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** The engine for one tab, the one it lives in when `own`, and what to do when the tab is gone. */
  seat({ own }: { own: boolean }): { service: Spoken; leave: () => void } {
    const { speaker } = this.#parts;
    const chosen: Chosen = { release: null, personal: null };
    const voice = ({ release, personal }: Chosen) =>
      speaker.use({ release: release?.adapter ?? null, personal: personal?.adapter ?? null });
    const choose = async (change: Partial<Chosen>) => {
      voice({ ...chosen, ...change });
      Object.assign(chosen, change);
    };
    this.#seats.add(chosen);
    const service: Spoken = {
      openModel: (request) =>
        this.#inTurn(async () => {
          const model = await this.#open(request, own);
          Object.assign(chosen, { release: null, personal: null });
          return model;
        }),
      speak: (request, signal) => {
        const speak = () => {
          voice(chosen);
          return speaker.speak(request, signal);
        };
        return this.#streamInTurn(speak);
      },
      useAdapter: (adapter) =>
        this.#inTurn(async () =>
          choose({ release: await this.#read(adapter, 'release'), personal: null }),
        ),
      usePersonal: (adapter) =>
        this.#inTurn(async () => choose({ personal: await this.#read(adapter, 'personal') })),
      checkGolden: (golden) =>
        this.#inTurn(async () => {
          voice(chosen);
          return speaker.checkGolden(golden);
        }),
    };
    return { service, leave: () => void this.#seats.delete(chosen) };
  }

  /** What is open already is not opened again. Another way of computing needs another engine. */
  async #open(request: OpenRequest, own: boolean): Promise<OpenedModel> {
    const opened = this.#opened;
    if (!opened) {
      const model = await this.#parts.open(request);
      this.#opened = { request, model };
      return model;
    }
    const sameModel = opened.request.manifest.digest === request.manifest.digest;
    const sameBackend = opened.request.backend === request.backend;
    if (sameModel && (sameBackend || request.again)) return opened.model;
    if (!sameModel && !own) throw otherModel();
    this.#parts.replace(request);
    return new Promise(() => undefined);
  }

  /** One that another tab speaks with is in memory already, even if its file is gone. */
  async #read(ref: AdapterRef | null, part: Part): Promise<Chosen[Part]> {
    if (!ref) return null;
    const { digest } = ref.file;
    for (const seat of this.#seats) if (seat[part]?.digest === digest) return seat[part];
    return { digest, adapter: await this.#parts.read(ref, part) };
  }

  async *#inTurn<R>(act: () => Promise<R>): AsyncGenerator<never, R> {
    const done = await this.#myTurn();
    try {
      return await act();
    } catch (error) {
      return await this.#goOnWithout(error);
    } finally {
      done();
    }
  }

  async *#streamInTurn<Y, R>(act: () => AsyncGenerator<Y, R>): AsyncGenerator<Y, R> {
    const done = await this.#myTurn();
    try {
      return yield* act();
    } catch (error) {
      return await this.#goOnWithout(error);
    } finally {
      done();
    }
  }

  /**
   * A lost device takes this engine with it: one on the processor is begun, of which those who wait here are told as
   * this one ends. Any other error is thrown.
   */
  async #goOnWithout(error: unknown): Promise<never> {
    if (!this.#opened || !isDeviceLost(error)) throw error;
    const { request, model } = this.#opened;
    this.#parts.replace({ ...request, verdict: model.verdict, deviceLost: true });
    return new Promise(() => undefined);
  }

  /** Waits for all before; gives the function that lets the next one begin. */
  async #myTurn(): Promise<() => void> {
    const before = this.#turn;
    let done!: () => void;
    this.#turn = new Promise((resolve) => (done = resolve));
    await before;
    return done;
  }
}

const otherModel = () =>
  new RapportError(
    'workers/other-model',
    'Another tab has opened another model.',
    'Open the model in this tab.',
  );
