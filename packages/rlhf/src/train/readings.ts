// How a judgement looks at a reply: at all its tokens alike, or more at those that a reward model finds telling.
import { float32 } from '@rapport/core';
import type { Tensor } from '@rapport/core';
import { tokenWeights } from '../losses/focus.ts';
import type { Row } from './rows.ts';

/** A reply's log-ratio as it is to be read: its tokens weighed, and what the reference gives weighed alike. */
export interface Reading {
  /** Which row of the batch. */
  readonly row: number;
  /** One per token of the reply. */
  readonly weights: Float32Array;
  /** Σ weight · log π_ref(token). */
  readonly refSum: number;
}

/**
 * A reply's reading with its tokens weighed by `tokenWeights`, or all alike where κ is 0 or nothing is known of them.
 *
 * `refLogprobs`: log π_ref of each token. `scores`: what each brought (`tokenScores`). `weight`: of each token on average; one
 * over their number makes the reading a mean. `end`: of the last token beside that.
 */
export function readingOf(
  row: number,
  given: {
    readonly refLogprobs: Float32Array;
    readonly scores: Float64Array | undefined;
    readonly kappa: number;
    readonly weight?: number;
    readonly end?: number;
  },
): Reading {
  const { refLogprobs, scores, kappa, weight = 1, end = 1 } = given;
  const last = refLogprobs.length - 1;
  const telling = scores && kappa !== 0 ? tokenWeights(scores, kappa) : undefined;
  const weights = Float32Array.from(
    refLogprobs,
    (_, t) => (telling?.[t] ?? 1) * weight * (t === last ? end : 1),
  );
  const refSum = weights.reduce((sum, one, t) => sum + one * refLogprobs[t]!, 0);
  return { row, weights, refSum };
}

/** A row's reading with all tokens alike. */
export function plainReading({ reply }: Row, row: number, refSum: number): Reading {
  return { row, weights: new Float32Array(reply.length).fill(1), refSum };
}

/** What `logratios()` of a loss reads: `rows` [R, N], the weight of each selected token in each reading, `refSums` [R]. */
export function readingFeeds(
  rows: readonly Row[],
  readings: readonly Reading[],
): Record<'rows' | 'refSums', Tensor> {
  const starts: number[] = [];
  const count = rows.reduce((n, { reply }) => (starts.push(n), n + reply.length), 0);
  const data = new Float32Array(readings.length * count);
  readings.forEach(({ row, weights }, r) => data.set(weights, r * count + starts[row]!));
  return {
    rows: float32([readings.length, count], data),
    refSums: float32(
      [readings.length],
      readings.map(({ refSum }) => refSum),
    ),
  };
}
