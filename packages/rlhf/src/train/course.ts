// What a method changes from step to step: the adapter, the optimiser's moments, the random numbers, what
// is left of this epoch. All of it can be saved, so that a run that was stopped goes on as if it had not been.
import { Random } from '@rapport/core';
import type { Adapter, RandomState } from '@rapport/core';
import { AdamW } from '../optim/adamw.ts';
import type { AdamOptions, AdamState } from '../optim/adamw.ts';
import { copyAdapter } from './adapter.ts';
import { stopOf } from './guards.ts';
import type { Limits, Measured, Stop } from './guards.ts';

/** How long a course is. */
export interface CourseLength {
  /** Times every task is seen, as far as `minSteps` and `maxSteps` leave it open. */
  readonly epochs: number;
  /** At least this many optimiser steps: ties leave few pairs, and steps move a model, not epochs. */
  readonly minSteps: number;
  /** At most this many. */
  readonly maxSteps: number;
}

/** Optimiser steps of a course over so many tasks, so many of which a step takes. */
export function stepsOver(
  tasks: number,
  perStep: number,
  { epochs, minSteps, maxSteps }: CourseLength,
): number {
  return Math.min(maxSteps, Math.max(minSteps, Math.ceil(tasks / perStep) * epochs));
}

/** Plain data: numbers, arrays and maps. */
export interface CourseState {
  /** Steps that are done. */
  readonly step: number;
  readonly adapter: Adapter;
  readonly adam: AdamState;
  readonly random: RandomState;
  /** Numbers of the tasks that this epoch has still to see. */
  readonly queue: readonly number[];
  /** The last adapter that was measured and good. Missing, with the next, in states of earlier versions. */
  readonly good?: Adapter;
  /** Length of replies at the start. */
  readonly firstLength?: number;
}

export interface Keeping<S extends CourseState = CourseState> {
  /** Goes on from here; rankings, thumbs, text and config must be those of the first attempt. */
  readonly resume?: S | undefined;
  /** Called after every `everySteps` steps. */
  readonly save?: (state: S) => Promise<void>;
  readonly everySteps?: number;
}

export class Course {
  /** Steps done before this attempt. */
  readonly step: number;
  readonly adapter: Adapter;
  readonly random: Random;
  readonly adam: AdamW;
  readonly #keeping: Keeping;
  #queue: number[];
  #good: Adapter;
  #firstLength: number | undefined;

  constructor(
    keeping: Keeping,
    seed: number,
    begin: (random: Random) => Adapter,
    options: AdamOptions = {},
  ) {
    const { resume } = keeping;
    this.#keeping = keeping;
    this.step = resume?.step ?? 0;
    this.random = new Random(resume?.random ?? seed);
    this.adapter = resume ? copyAdapter(resume.adapter) : begin(this.random);
    this.#queue = [...(resume?.queue ?? [])];
    this.#good = copyAdapter(resume?.good ?? this.adapter);
    this.#firstLength = resume?.firstLength;
    this.adam = new AdamW({ betas: [0.9, 0.99], ...options });
    if (resume) this.adam.restore(resume.adam);
  }

  /** The last adapter that was measured and good: what a stop returns. */
  get good(): Adapter {
    return this.#good;
  }

  /** Why the adapter, as it was measured, must not be gone on from; when it may, it is the last good one. */
  judge(measured: Measured, limits: Limits): Stop | undefined {
    this.#firstLength ??= measured.length;
    const stopped = stopOf(measured, this.#firstLength, limits);
    if (!stopped) this.#good = copyAdapter(this.adapter);
    return stopped;
  }

  /** The next `count` tasks of a shuffled epoch; a new epoch begins when fewer than `fewest` are left. */
  draw<T>(tasks: readonly T[], count: number, fewest = count): T[] {
    if (this.#queue.length < Math.min(fewest, tasks.length)) {
      this.#queue = this.random.shuffle([...tasks.keys()]);
    }
    return this.#queue.splice(0, count).map((i) => tasks[i]!);
  }

  /** Saves the state after `step` steps, when it is time to. */
  async keep(step: number): Promise<void> {
    const { save, everySteps = 1 } = this.#keeping;
    if (!save || step % everySteps !== 0) return;
    await save(this.state(step));
  }

  /** A copy of where the course stands after `step` steps. */
  state(step: number): CourseState {
    return {
      step,
      adapter: copyAdapter(this.adapter),
      adam: this.adam.state(),
      random: this.random.state(),
      queue: [...this.#queue],
      good: this.#good,
      ...(this.#firstLength !== undefined && { firstLength: this.#firstLength }),
    };
  }
}
