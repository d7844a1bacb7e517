// Tokenised rows and how they are packed into padded batches. Lengths are explicit everywhere:
// no mask is ever derived from a token id.
import { causalMask, float32, int64 } from '@rapport/core';
import type { Tensor } from '@rapport/core';

/** A prompt and a reply to it (with its end-of-turn token when it ended). */
export interface Row {
  readonly prompt: readonly number[];
  readonly reply: readonly number[];
}

/** A row whose trunk output [T·D] is kept. */
export interface TrunkRow extends Row {
  readonly trunk: Float32Array;
}

export const lengthOf = (row: Row): number => row.prompt.length + row.reply.length;

/** Groups of rows that fit a budget of padded tokens, longest first, so that padding is small. */
export function packByLength<T>(
  items: readonly T[],
  length: (item: T) => number,
  budgetTokens: number,
): T[][] {
  const sorted = [...items].sort((a, b) => length(b) - length(a));
  const batches: T[][] = [];
  let current: T[] = [];
  for (const item of sorted) {
    const widest = length(current[0] ?? item);
    if (current.length > 0 && (current.length + 1) * widest > budgetTokens) {
      batches.push(current);
      current = [];
    }
    current.push(item);
  }
  if (current.length > 0) batches.push(current);
  return batches;
}

/** `positions` and `mask` of a batch of `rows` rows padded on the right to `width`. */
export function layoutFeeds(rows: number, width: number, groups: number): Record<string, Tensor> {
  const positions = Array.from({ length: rows * width }, (_, i) => i % width);
  return { positions: int64([rows, width], positions), mask: causalMask(width, groups) };
}

/** Tokens padded on the right with 0. */
export function tokenFeeds(rows: readonly Row[], width: number): Record<string, Tensor> {
  const data = new BigInt64Array(rows.length * width);
  rows.forEach(({ prompt, reply }, b) => {
    [...prompt, ...reply].forEach((id, t) => (data[b * width + t] = BigInt(id)));
  });
  return { tokens: int64([rows.length, width], data) };
}

/** Trunk outputs padded on the right with zeros. */
export function trunkFeed(rows: readonly TrunkRow[], width: number, hidden: number): Tensor {
  const data = new Float32Array(rows.length * width * hidden);
  rows.forEach((row, b) => data.set(row.trunk, b * width * hidden));
  return float32([rows.length, width, hidden], data);
}

/**
 * Which positions predict the reply tokens, and the tokens: `select` [N, 2] and `targets` [N], rows in
 * order. With `after`, each row also selects its last position (target 0).
 */
export function replyFeeds(rows: readonly Row[], after = false): Record<string, Tensor> {
  const select: number[] = [];
  const targets: number[] = [];
  rows.forEach(({ prompt, reply }, b) => {
    reply.forEach((id, t) => {
      select.push(b, prompt.length - 1 + t);
      targets.push(id);
    });
    if (after) {
      select.push(b, prompt.length - 1 + reply.length);
      targets.push(0);
    }
  });
  return {
    select: int64([targets.length, 2], select),
    targets: int64([targets.length], targets),
  };
}

/** [B, N]: weight of each selected token in its row's sum; 1 or, normalised, 1/length. */
export function rowSumFeed(rows: readonly Row[], normalised = false): Tensor {
  const count = rows.reduce((n, { reply }) => n + reply.length, 0);
  const data = new Float32Array(rows.length * count);
  let at = 0;
  rows.forEach(({ reply }, b) => {
    const weight = normalised ? 1 / reply.length : 1;
    data.fill(weight, b * count + at, b * count + at + reply.length);
    at += reply.length;
  });
  return float32([rows.length, count], data);
}
