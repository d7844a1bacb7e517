// A browser with tabs for tests: locks, broadcast channels and workers that speak by a script, in one process. A tab or a
// worker can go away, or freeze, between any two messages.
import type { Adapter, SpeakRequest, SpokenReply, SpokenToken } from '@rapport/core';
import { RapportError } from '@rapport/core';
import { connect } from './channel.ts';
import { Desk } from './desk.ts';
import { Election, type EngineEvents, type StartedEngine } from './election.ts';
import type { AdapterRef, InferenceService, OpenedModel, OpenRequest } from './inference.ts';
import { tabLock, type Channel } from './mail.ts';
import { OneEngine, type Whereabouts } from './one-engine.ts';
import { receiveTabs, type Files } from './reception.ts';
import type { Speaker, Voice } from './speaker.ts';

/** What can hold locks and hear messages. */
class Process {
  ended = false;
  /** Messages that a frozen one has not heard. */
  unheard: (() => void)[] | null = null;
  readonly parent: Process | undefined;

  constructor(parent?: Process) {
    this.parent = parent;
  }

  get gone(): boolean {
    return this.ended || (this.parent?.gone ?? false);
  }

  get frozen(): (() => void)[] | null {
    return this.unheard ?? this.parent?.frozen ?? null;
  }
}

export class Tab extends Process {
  readonly engine: OneEngine;
  where: Whereabouts[] = [];

  constructor(world: World, name: string) {
    super();
    const election = new Election(name, {
      hold: (lock) => world.hold(this, lock),
      open: (channel) => world.channel(this, channel),
      start: (events) => world.startEngine(this, events),
      wait: () => world.patience(),
    });
    this.engine = new OneEngine(election, (where) => this.where.push(where));
  }

  /** Where it computes and what is open there, by what it was told last. */
  get now(): Whereabouts {
    return Object.assign({}, ...this.where) as Whereabouts;
  }
}

/** A worker that speaks by a script. */
export interface Engine {
  name: string;
  process: Process;
  events: EngineEvents;
}

export class World {
  readonly engines: Engine[] = [];
  /** What was opened: the engine and the backend, or that its device was lost. */
  readonly opened: string[] = [];
  /** Digests of adapters whose files are gone. */
  readonly lost = new Set<string>();
  /** Called before each token and before the end of each reply, counting them all. */
  onToken: (engine: Engine, count: number) => void = () => undefined;
  /** Opening waits for it. */
  opening: Promise<unknown> = Promise.resolve();
  readonly #holders = new Map<string, Process>();
  readonly #queues = new Map<string, { process: Process; go: () => void }[]>();
  readonly #ears = new Map<string, { process: Process; hear: (data: unknown) => void }[]>();
  #waits: (() => void)[] = [];
  #tokens = 0;
  #tabs = 0;

  openTab(): Tab {
    return new Tab(this, `tab-${++this.#tabs}`);
  }

  close(process: Process): void {
    process.ended = true;
    for (const lock of this.#queues.keys()) this.#grant(lock);
  }

  freeze(process: Process): void {
    process.unheard = [];
  }

  thaw(process: Process): void {
    const unheard = process.unheard ?? [];
    process.unheard = null;
    unheard.forEach((hear) => hear());
  }

  /** Engines that live. */
  get living(): Engine[] {
    return this.engines.filter(({ process }) => !process.gone);
  }

  hold(process: Process, lock: string): Promise<void> {
    return new Promise((go) => {
      this.#queues.set(lock, [...(this.#queues.get(lock) ?? []), { process, go }]);
      this.#grant(lock);
    });
  }

  #grant(lock: string): void {
    if (this.#holders.get(lock)?.gone === false) return;
    const queue = (this.#queues.get(lock) ?? []).filter(({ process }) => !process.gone);
    const next = queue.shift();
    this.#queues.set(lock, queue);
    if (!next) return;
    this.#holders.set(lock, next.process);
    this.#later(next.process, next.go);
  }

  channel(process: Process, name: string): Channel {
    const mine: ((data: unknown) => void)[] = [];
    const ears = this.#ears.get(name) ?? [];
    this.#ears.set(name, ears);
    return {
      postMessage: (message) => {
        if (process.gone) return;
        const copy = structuredClone(message);
        for (const { process: other, hear } of ears) {
          if (!mine.includes(hear)) this.#later(other, () => hear(copy));
        }
      },
      addEventListener: (_, listener) => {
        const hear = (data: unknown) => listener({ data } as MessageEvent);
        mine.push(hear);
        ears.push({ process, hear });
      },
      close: () => undefined,
    };
  }

  /** The time in which a host should have answered. */
  patience(): Promise<void> {
    return new Promise((over) => this.#waits.push(over));
  }

  /** Lets that time pass, once all is silent. */
  async passTime(): Promise<void> {
    await this.silence();
    this.#waits.splice(0).forEach((over) => over());
    await this.silence();
  }

  /** Until what is under way has been said. */
  async silence(): Promise<void> {
    for (let i = 0; i < 60; i++) await new Promise((resolve) => setImmediate(resolve));
  }

  startEngine(tab: Tab, events: EngineEvents): StartedEngine {
    const process = new Process(tab);
    const name = `engine-${this.engines.length + 1}`;
    const engine: Engine = { name, process, events };
    this.engines.push(engine);
    const desk = new Desk({
      speaker: this.#speaker(engine),
      open: async (request) => {
        await this.opening;
        this.opened.push(`${name} ${request.deviceLost ? 'device-lost' : request.backend}`);
        return { backend: request.backend } as unknown as OpenedModel;
      },
      read: async ({ file }) => {
        if (this.lost.has(file.digest)) throw new RapportError('test/gone', 'It is gone.', '');
        return { digest: file.digest } as unknown as Adapter;
      },
      replace: (request: OpenRequest) => this.#later(tab, () => events.replace(request)),
    });
    receiveTabs(desk, {} as Files, {
      name,
      own: this.channel(process, `${name} own`),
      open: (channel) => this.channel(process, channel),
      gone: (other) => this.hold(process, tabLock(other)),
    });
    this.#later(tab, () => events.listening());
    let fail!: (error: Error) => void;
    const own = this.channel(tab, `${name} own`);
    const inference = connect<InferenceService>(own, (told) => (fail = told));
    const end = (error: Error) => {
      this.close(process);
      fail(error);
    };
    return { name, inference, end };
  }

  #speaker(engine: Engine): Pick<Speaker, 'use' | 'speak' | 'checkGolden'> {
    let voice: Voice = { release: null, personal: null };
    let speaking = false;
    const step = () => new Promise<void>((go) => this.#later(engine.process, go));
    const beforeToken = () => this.onToken(engine, this.#tokens++);
    return {
      use: (wanted) => void (voice = wanted),
      checkGolden: async () => 0,
      async *speak(request, signal) {
        if (speaking) throw new Error('it speaks already');
        speaking = true;
        const whole = replies(request, nameOf(voice));
        const said = whole.map((): SpokenToken[] => []);
        const before = request.prefix?.length ?? 0;
        for (
          let i = 0;
          !signal.aborted && whole.some((tokens) => before + i < tokens.length);
          i++
        ) {
          for (const [index, tokens] of whole.entries()) {
            const token = tokens[before + i];
            if (!token || signal.aborted) continue;
            await step();
            beforeToken();
            said[index]!.push(token);
            yield { ...token, index };
          }
        }
        beforeToken();
        speaking = false;
        return said.map((tokens) => replyOf(tokens, signal.aborted ? 'cancelled' : 'stop'));
      },
    };
  }

  /** In a later turn, unless it is gone by then; a frozen one hears it when it thaws. */
  #later(process: Process, act: () => void): void {
    setImmediate(() => {
      if (process.gone) return;
      if (process.frozen) process.frozen.push(act);
      else act();
    });
  }
}

const nameOf = ({ release, personal }: Voice) =>
  [release, personal].map((adapter) => (adapter as { digest?: string } | null)?.digest).join('+');

/** What each reply of a request says to its end, by a voice like `R+P`, as if never cut off. */
export function replies({ messages, samplings }: SpeakRequest, voice = '+'): SpokenToken[][] {
  return samplings.map(({ seed }, index) =>
    Array.from({ length: 6 + (seed % 5) }, (_, i) => {
      const text = `${messages.at(-1)!.content}:${voice}:${seed}:${i} `;
      return { index, id: 1000 * seed + i, logprob: -i, text };
    }),
  );
}

const replyOf = (
  tokens: SpokenToken[],
  finishReason: SpokenReply['finishReason'],
): SpokenReply => ({
  tokens: tokens.map(({ id }) => id),
  logprobs: tokens.map(({ logprob }) => logprob),
  text: tokens.map(({ text }) => text).join(''),
  finishReason,
  timing: { prefillMs: 1, decodeMs: 1, tokensPerSecond: 1 },
});

export const adapterOf = (digest: string): AdapterRef => ({
  file: { name: 'adapter', digest, sizeBytes: 1 },
  rank: 1,
  alpha: 1,
  targets: [],
});
