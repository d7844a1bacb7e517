// What a trial of the engines says about a device, and how long it holds.
import type { Engine, Verdict } from './inference.ts';

/** The fastest and the median round of an engine, in milliseconds. */
export interface Trial {
  engine: Engine;
  fastestMs: number;
  medianMs: number;
}

/** A verdict and when it was made. */
export type KeptVerdict = Verdict & { atMs: number };

/** Rounds of a device that does little else differ by less. */
const CALM_SPREAD = 1.5;
/** Browsers and their engines change. */
export const LASTS_MS = 30 * 24 * 3_600_000;

/** Where nothing could be measured, the engine that needs least. */
export function verdictOf(trials: readonly Trial[]): Verdict {
  const ranked = [...trials].sort((a, b) => a.fastestMs - b.fastestMs);
  return {
    engine: ranked[0]?.engine ?? 'simd',
    ms: Object.fromEntries(trials.map(({ engine, fastestMs }) => [engine, fastestMs])),
    calm:
      trials.length > 0 &&
      trials.every(({ fastestMs, medianMs }) => medianMs <= CALM_SPREAD * fastestMs),
  };
}

/** What still holds of a kept verdict: one of a busy moment or of long ago is found anew. */
export function lasting(kept: KeptVerdict | undefined, nowMs: number): Verdict | undefined {
  if (!kept?.calm || !(nowMs - kept.atMs < LASTS_MS)) return undefined;
  return { engine: kept.engine, ms: kept.ms, calm: true };
}
