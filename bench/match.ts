// Engines that answer the same questions, taken in turn. One that fails is out, and a row says why.
import type { Ask, Piece, Told } from './page/engine.ts';
import type { Quality } from './quality.ts';
import { missingRow, rowOf, type Row } from './rows.ts';

export interface Contestant {
  label: string;
  /** Why it cannot take part. */
  missing?: string | undefined;
  ask(question: Ask): Promise<Told>;
  /** How far its log-probs of a text are from the exact ones. */
  quality(text: Piece): Promise<Quality>;
  /** Ends it, when it is out: what hangs would take the cores from the others. */
  stop?(): Promise<void>;
}

/** An engine that says nothing for longer has failed. */
const ANSWER_MS = 300_000;

export class Match {
  readonly suite: string;
  readonly #all: readonly Contestant[];
  readonly #out = new Map<string, Row>();
  readonly #rows: Row[] = [];

  constructor(suite: string, all: readonly Contestant[]) {
    this.suite = suite;
    this.#all = all;
    for (const { label, missing } of all) if (missing) this.drop(label, 'all', missing);
  }

  get playing(): Contestant[] {
    return this.#all.filter(({ label }) => !this.#out.has(label));
  }

  /** What was measured, then what was not. */
  get rows(): Row[] {
    return [...this.#rows, ...this.#out.values()];
  }

  /** Notes figures; none make no row. */
  add(
    engine: string,
    workload: string,
    [metric, unit]: readonly [string, string],
    runs: number[],
  ): void {
    if (runs.length === 0) return;
    this.#rows.push(rowOf({ suite: this.suite, workload, engine, metric, unit }, runs));
  }

  /** An engine is out. */
  drop(engine: string, workload: string, why: unknown): void {
    this.#out.set(engine, missingRow({ suite: this.suite, workload, engine }, why));
    const out = this.#all.find(({ label }) => label === engine);
    void out?.stop?.().catch(() => undefined);
  }

  /** One engine's milliseconds, none when it is out or fails. */
  async ask(contestant: Contestant, workload: string, question: Ask): Promise<number[]> {
    const told = await this.try(contestant, workload, () => contestant.ask(question));
    return told?.ms ?? [];
  }

  /** What an act gives, nothing when the engine is out or the act fails. */
  async try<T>(
    { label }: Pick<Contestant, 'label'>,
    workload: string,
    act: () => Promise<T>,
  ): Promise<T | undefined> {
    if (this.#out.has(label)) return undefined;
    try {
      return await within(ANSWER_MS, act());
    } catch (error) {
      this.drop(label, workload, error);
      return undefined;
    }
  }

  /** Milliseconds of every engine over rounds taken in turn; a round is a fresh question. */
  async inTurn(
    workload: string,
    rounds: number,
    question: () => readonly Ask[],
  ): Promise<Map<string, number[]>> {
    const all = new Map<string, number[]>();
    for (let i = 0; i < rounds; i++) {
      const asked = question();
      for (const contestant of this.playing) {
        let ms: number[] = [];
        // The last question of a round is the one that counts.
        for (const one of asked) ms = await this.ask(contestant, workload, one);
        all.set(contestant.label, [...(all.get(contestant.label) ?? []), ...ms]);
      }
    }
    return all;
  }
}

function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${ms / 1000} s`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
