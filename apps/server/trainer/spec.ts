// The hand-off between the server and whatever trains: what is asked for, and what comes back. A
// backend gets a folder with `run.json` and the judgements, appends lines to `progress.jsonl`, and
// writes `result.json` last. Nothing here knows how training works.
import type { Golden } from '@rapport/core';

export const METHODS = ['ppo', 'rloo', 'dpo', 'kto', 'sft'] as const;
export type Method = (typeof METHODS)[number];

/** Who gets the release of a run that passes its gate. */
export const PUBLISH = ['candidate', 'stable', 'no'] as const;
export type Publish = (typeof PUBLISH)[number];

/** `run.json`. Paths are absolute. */
export interface RunSpec {
  run: string;
  attempt: number;
  kind: Method;
  base: { digest: string; format: 'gguf' | 'safetensors'; files: { name: string; path: string }[] };
  /** The stable release, or "base": what the result is compared with. */
  stable: string;
  /** The adapter of that release, with its PEFT config; null for the bare base. */
  init: { release: string; path: string; rank: number; alpha: number; targets: string[] } | null;
  dataset: { id: string; digest: string };
  /** JSON lines of `{id, device, type, body}`. */
  rows: string;
  /** How many judgements are not among the rows, by reason. */
  setAside: Record<string, number>;
  /** A folder that survives from attempt to attempt, as long as rows, base and config stay the same. */
  checkpoint: string;
  config: Record<string, unknown>;
  seed: number;
}

/** One line of progress: a stage, a step, and whatever numbers it measured. */
export interface ProgressRecord {
  stage: string;
  step?: number;
  steps?: number;
  [metric: string]: unknown;
}

export interface GateCheck {
  name: string;
  passed: boolean;
  detail: string;
}
export interface Gate {
  passed: boolean;
  checks: GateCheck[];
}

/** What failed, as an error tells it. */
export interface Failure {
  code: string;
  message: string;
  remedy: string;
}

/** `result.json`. An adapter is a folder in PEFT layout. */
export type TrainingResult =
  | {
      status: 'done';
      adapter: string;
      tokenizerDigest: string;
      golden?: Golden;
      gate: Gate;
      evaluation: Record<string, unknown>;
      /** Devices among the rows that were not learned from. */
      outliers?: string[];
    }
  | { status: 'cancelled' }
  | { status: 'failed'; error: Failure };

/** Where a submitted job is. */
export type JobStatus = { state: 'running' } | { state: 'ended'; result: TrainingResult };

/** A place that trains: a child process here, a cluster elsewhere. A ref names a submitted job. */
export interface Trainer {
  /** Whether it could train by a config. Throws `train/bad-config`. */
  check(config: Record<string, unknown>): void;
  submit(folder: string, spec: RunSpec): Promise<string>;
  status(ref: string): Promise<JobStatus>;
  /** Lines after `cursor`, and the cursor behind them. */
  logs(ref: string, cursor: number): Promise<{ lines: string[]; cursor: number }>;
  /** Asks it to stop; `status` tells when it has. */
  cancel(ref: string): Promise<void>;
}
