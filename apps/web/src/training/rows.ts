// What is kept of personal training: each run with its plan, its course, and what came of it.
import type { ErrorNote } from '../db/error-note.ts';
import type { Model } from '../model/model.svelte.ts';
import type {
  TrainingOrder,
  TrainingOutcome,
  TrainingStage,
  TrainingStep,
} from '../workers/training.ts';

/**
 * `running` in some tab; `paused` by the person or because the page went away; `failed` with a reason,
 * to be resumed; `offered` is done and waits for a choice; `kept` speaks; `aside` was kept until another
 * release came, or its file was lost (then with the error).
 */
export type TrainingState = 'running' | 'paused' | 'failed' | 'offered' | 'kept' | 'aside';

/** One of the person's own prompts, answered without and with what was learned. */
export interface SideBySide {
  prompt: string;
  before: string;
  after: string;
}

export interface TrainingRun {
  id: string;
  state: TrainingState;
  startedAt: number;
  /** The release it builds on, as provenance names it. */
  release: string;
  /** The release that the same lessons were taught on before it. */
  before?: string;
  /** Everything the worker needs; the same order goes on where it stopped. */
  order: TrainingOrder;
  stage: TrainingStage;
  /** The graphics processor went away in the middle, and the processor went on. */
  deviceLost?: boolean;
  steps: TrainingStep[];
  outcome?: TrainingOutcome;
  sideBySide: SideBySide[];
  error?: ErrorNote;
}

/** Whether what was taught, or is being taught, can speak now: on the same base and on the same release. */
export const fits = ({ release, order }: TrainingRun, model: Model): boolean =>
  release === model.speaker.id && order.manifest.digest === model.manifest?.digest;

/** Whether a run failed for want of memory; a worker that crashed is taken for that. */
export const lackedMemory = ({ state, error }: TrainingRun): boolean =>
  state === 'failed' && (error?.code === 'training/memory' || error?.code === 'training/crashed');
