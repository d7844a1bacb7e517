// From values to pixels, and the round values between which people read.

export interface Scale {
  /** Its ends. */
  readonly low: number;
  readonly high: number;
  /** The pixel of a value. */
  at(value: number): number;
  /** Round values within the scale. */
  readonly ticks: readonly number[];
  /** A tick in no more digits than tell it from its neighbours. */
  label(tick: number): string;
}

/**
 * A linear scale from `values` to the pixels `from`–`to`. `round` widens it to the next ticks; values that are all
 * equal get some room on either side. Between whole numbers there are no ticks where all values are whole.
 */
export function scaleOf(
  values: readonly number[],
  [from, to]: readonly [number, number],
  { round = false, ticks: wanted = 4 }: { round?: boolean; ticks?: number } = {},
): Scale {
  const known = values.filter(Number.isFinite);
  let [low, high] = known.length > 0 ? [Math.min(...known), Math.max(...known)] : [0, 1];
  if (low === high) {
    const room = Math.abs(low) / 2 || 0.5;
    [low, high] = [low - room, high + room];
  }
  const finest = known.every(Number.isInteger) ? 1 : 0;
  const step = Math.max(finest, roundStep((high - low) / wanted));
  if (round) [low, high] = [step * Math.floor(low / step), step * Math.ceil(high / step)];
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return {
    low,
    high,
    at: (value) => from + ((value - low) / (high - low)) * (to - from),
    ticks: Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step),
    label: (tick) => {
      if (tick === 0) return '0';
      return decimals > 3 ? tick.toExponential(1) : tick.toFixed(decimals);
    },
  };
}

/** The smallest of 1, 2, 5 times a power of ten that is no smaller than `step`. */
function roundStep(step: number): number {
  const power = 10 ** Math.floor(Math.log10(step));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= step * (1 - 1e-9))!;
}
