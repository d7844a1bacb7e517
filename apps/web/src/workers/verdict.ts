// What a trial of the engines says about a device, and how long it holds.
import type { Engine, Verdict } from './inference.ts';

/** The fastest and the median round of an engine, in milliseconds. */
export interface Trial {
  engine: Engine;
  fastestMs: number;
  medianMs: number;
  /** It computed something else than a plain loop does. */
  wrong: boolean;
}

/** A verdict, by which build of the page and when. */
export type KeptVerdict = Verdict & { build: string; atMs: number };

/** How much faster than our own kernels an engine has to be: those need a quarter of the memory (docs/benchmarks.md). */
const WORTH_MEMORY = 1.25;
/** Rounds of a device that does little else differ by less. */
const CALM_SPREAD = 1.5;
const DAY_MS = 24 * 3_600_000;
/** Browsers and their engines change, ours with each build. */
export const LASTS_MS = 30 * DAY_MS;

/** The fastest that computes right; where others are hardly faster, or nothing could be measured, the engine that needs least. */
export function verdictOf(trials: readonly Trial[]): Omit<Verdict, 'whole' | 'tookMs'> {
  const wrong = trials.flatMap((trial) => (trial.wrong ? trial.engine : []));
  const right = trials.filter((trial) => !trial.wrong);
  const handicapped = ({ engine, fastestMs }: Trial) =>
    engine === 'simd' ? fastestMs : WORTH_MEMORY * fastestMs;
  const ranked = [...right].sort((a, b) => handicapped(a) - handicapped(b));
  return {
    engine: ranked[0]?.engine ?? (wrong.includes('simd') ? 'wasm' : 'simd'),
    ms: Object.fromEntries(right.map(({ engine, fastestMs }) => [engine, fastestMs])),
    wrong,
    calm:
      trials.length > 0 &&
      trials.every(({ fastestMs, medianMs }) => medianMs <= CALM_SPREAD * fastestMs),
  };
}

/**
 * What still holds of a kept verdict. One of another build, of a busy moment or of long ago is found anew, and one that came before all
 * engines were tried is after a day: what they load may have been brought here since.
 */
export function lasting(
  kept: KeptVerdict | undefined,
  build: string,
  nowMs: number,
): Verdict | undefined {
  if (!kept?.calm || kept.build !== build) return undefined;
  const { build: _build, atMs, ...verdict } = kept;
  return nowMs - atMs < (kept.whole ? LASTS_MS : DAY_MS) ? verdict : undefined;
}
