// What trials of training say about a device: which backend, how much at once, how fast. It runs nothing.
import type { Room } from '@rapport/rlhf';
import { LASTS_MS } from './verdict.ts';

export type TrainingBackend = 'wasm' | 'webgpu';

/** A forward and a backward pass over made-up rows. */
export interface TrialRun {
  tokens: number;
  ms: number;
  /** WASM memory after it; it never shrinks. */
  heapBytes: number;
}

/** What a backend did with the model's training graph. */
export interface Trial {
  backend: TrainingBackend;
  /** Opening the graph. */
  loadMs: number;
  /** The graph's weights in fp32. */
  weightBytes: number;
  /** The runs that succeeded, smaller ones first. */
  runs: readonly TrialRun[];
  /** The next one had too little memory. */
  full: boolean;
}

/** Milliseconds per token of a training step, and to open a graph. */
interface Speed {
  tokenMs: number;
  loadMs: number;
}

/** With what a run is computed. */
export interface Plan {
  backend: TrainingBackend;
  /** Padded tokens of one run of a graph; two rows that are compared may take up to twice that. */
  budgetTokens: number;
  /**
   * What layers may keep for the backward pass, where memory is short: what does not fit is computed again. Missing
   * where all of it may be kept.
   */
  activationBytes?: number;
  /** Whether reward model and PPO are offered. */
  fullRound: boolean;
  /** Missing where nothing was measured. */
  speed?: Speed;
}

/** What else is known of a device. */
export interface Hints {
  /** Of the whole device, as far as the browser says: a hint, rounded and capped. */
  deviceGb?: number | undefined;
  /** Budgets that a backend may not exceed, because it had too little memory for more. */
  ceilings?: Readonly<Partial<Record<TrainingBackend, number>>>;
}

/** Where nothing was measured: a second or two of work at once on a good device, and one gigabyte. */
export const USUAL_BUDGET = 448;
/** What the server uses; more gains nothing. */
const MOST = 1024;
/** Shorter rows teach nothing. */
const LEAST = 112;
/** A run of a graph cannot be interrupted, and the chat waits for it. */
const RUN_MS = 4000;
/** Tokens of the longest row, and of its prompt. */
const [LONGEST_ROW, LONGEST_PROMPT] = [448, 256];

const GIB = 2 ** 30;
/** wasm32 has 4 GiB; the rest is a margin. */
const WASM_BYTES = 0.8 * 4 * GIB;
/** Of a device's memory; the chat, the browser and everything else have the rest. */
const DEVICE_SHARE = 0.6;
/** Memory grows in steps as large as this. */
const STEP_BYTES = 96 * 2 ** 20;
/** A step whose forward pass is computed twice takes so many times as long, at most. */
const COMPUTED_AGAIN = 4 / 3;
/** Nothing is planned that is more times as large as what was tried. */
const FURTHEST = 8;
/** Sessions that a method opens beside the one that trains: KTO scores meanwhile, PPO also speaks (two halves). */
const [BESIDE_KTO, BESIDE_PPO] = [2, 4];
/** A full round at this speed takes about an hour. */
const SLOWEST_FULL_ROUND_MS = 60;

/** The plan for the backend that was fastest; undefined where none could train. */
export function planOf(trials: readonly Trial[], hints: Hints = {}): Plan | undefined {
  const able = trials.filter(({ runs }) => runs.length > 0);
  const [best] = able.sort((a, b) => tokenMsOf(a.runs) - tokenMsOf(b.runs));
  if (!best) return undefined;
  const { backend, loadMs } = best;
  const ceiling = hints.ceilings?.[backend];
  const activationBytes = activationBytesOf(best, hints);
  const tokenMs = tokenMsOf(best.runs) * (activationBytes === undefined ? 1 : COMPUTED_AGAIN);
  const budgetTokens = Math.min(budgetOf(best, hints), ceiling ?? Infinity);
  const fullRound =
    ceiling === undefined && tokenMs <= SLOWEST_FULL_ROUND_MS && bearsFullRound(best, hints);
  return {
    backend,
    budgetTokens,
    ...(activationBytes !== undefined && { activationBytes }),
    fullRound,
    speed: { tokenMs, loadMs },
  };
}

/** Where nothing was measured. */
export function usualPlan(backend: TrainingBackend, { deviceGb = 8, ceilings = {} }: Hints): Plan {
  const ceiling = ceilings[backend];
  const budgetTokens = Math.min(USUAL_BUDGET, ceiling ?? Infinity);
  if (ceiling !== undefined) return { backend, budgetTokens, activationBytes: 0, fullRound: false };
  return { backend, budgetTokens, fullRound: deviceGb >= 8 };
}

/** What is tried after there was too little memory for `budgetTokens`. */
export const smaller = (budgetTokens: number): number =>
  Math.max(LEAST, Math.floor(budgetTokens / 2));

/** How rows are cut, so that each fits a run. */
export function roomFor(budgetTokens: number): Room {
  const longestRow = Math.min(LONGEST_ROW, budgetTokens);
  const longestPrompt = Math.floor((longestRow * LONGEST_PROMPT) / LONGEST_ROW);
  return { budgetTokens, longestRow, longestPrompt };
}

/** The first run of a backend prepares: the best one counts. */
export const tokenMsOf = (runs: readonly TrialRun[]): number =>
  Math.min(...runs.map(({ ms, tokens }) => ms / tokens));

/** Trials and what they were of. */
export interface KeptTrials {
  /** Backends that were asked for. */
  backends: string;
  /** The build of the page. */
  build: string;
  atMs: number;
  trials: readonly Trial[];
}

/** Kept trials, where they still hold. */
export function lastingTrials(
  kept: KeptTrials | undefined,
  { backends, build }: Pick<KeptTrials, 'backends' | 'build'>,
  nowMs: number,
): readonly Trial[] | undefined {
  if (kept?.backends !== backends || kept.build !== build) return undefined;
  return nowMs - kept.atMs < LASTS_MS ? kept.trials : undefined;
}

function budgetOf(trial: Trial, hints: Hints): number {
  const bearable = bearableTokens(trial, hints);
  const byMemory = isShort(trial, hints) ? Math.min(bearable, LONGEST_ROW) : bearable;
  // However slow it is: shorter rows would teach less.
  const bySpeed = Math.max(USUAL_BUDGET, RUN_MS / tokenMsOf(trial.runs));
  return Math.floor(Math.min(MOST, bySpeed, Math.max(LEAST, byMemory)));
}

/** Whether two rows that are compared are more than fits, if all that layers make is kept. */
const isShort = (trial: Trial, hints: Hints): boolean =>
  bearableTokens(trial, hints) < 2 * LONGEST_ROW;

/**
 * Where memory is short, what the largest bearable run takes; nothing on graphics, whose memory cannot be seen, and
 * where there was too little before.
 */
function activationBytesOf(trial: Trial, hints: Hints): number | undefined {
  if (hints.ceilings?.[trial.backend] !== undefined) return 0;
  if (!isShort(trial, hints)) return undefined;
  if (trial.backend === 'webgpu') return 0;
  return Math.max(0, Math.floor(bearableTokens(trial, hints) * tokenBytesOf(trial)));
}

/** Tokens of the largest run that the memory allows beside the sessions of KTO. */
function bearableTokens(trial: Trial, { deviceGb }: Hints): number {
  const last = trial.runs.at(-1)!;
  if (trial.full) return last.tokens;
  // Memory of graphics cannot be seen: known is only what fitted.
  if (trial.backend === 'webgpu') return Math.max(2 * USUAL_BUDGET, last.tokens);
  const left = limitBytes(deviceGb) - last.heapBytes - BESIDE_KTO * trial.weightBytes;
  const bearable = Math.min(FURTHEST * last.tokens, last.tokens + left / tokenBytesOf(trial));
  const isSlow = left > 0 && last.heapBytes === trial.runs[0]!.heapBytes;
  // Too slow to try enough for memory to grow: shorter rows than usual would be for nothing.
  return isSlow ? Math.max(2 * USUAL_BUDGET, bearable) : bearable;
}

function bearsFullRound(trial: Trial, hints: Hints): boolean {
  const { deviceGb } = hints;
  if (trial.full) return false;
  if (trial.backend === 'webgpu') return (deviceGb ?? 8) >= 8;
  const last = trial.runs.at(-1)!;
  const more = Math.max(0, budgetOf(trial, hints) - last.tokens) * tokenBytesOf(trial);
  return last.heapBytes + BESIDE_PPO * trial.weightBytes + more <= limitBytes(deviceGb);
}

/** At most what a token needs: where memory has grown by how much, else all that is no weight. */
function tokenBytesOf({ runs, weightBytes }: Trial): number {
  const [first, last] = [runs[0]!, runs.at(-1)!];
  const [grown, more] = [last.heapBytes - first.heapBytes, last.tokens - first.tokens];
  if (grown > 0 && more > 0) return (grown + STEP_BYTES) / more;
  return Math.max(1, last.heapBytes - weightBytes) / last.tokens;
}

const limitBytes = (deviceGb = Infinity): number =>
  Math.min(WASM_BYTES, DEVICE_SHARE * deviceGb * GIB);
