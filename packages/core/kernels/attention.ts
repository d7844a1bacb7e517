// Attention over segments of keys and values where they lie: scores with their masks side by side in one row for
// each query, their softmax, and the sum over values. Where one mask serves all rows, the hidden tokens at its end
// (room in the cache for what is to come) are left out of all three. An instruction's words are: query [B, H, M, D], scores
// [B, H, M, W], out as query, B, H, M, D, W, parts, segments; then for each segment: keys and values
// [B or 1, H, n, D], mask, n, and three strides in bytes: of keys and values by batch, of the mask by batch and row.
// Units of work are parts of the columns of each matrix. The rows of a batch for one head follow each other, since
// they may share their keys.
import { timesColumns, timesRows } from './dense';
import { exponentials, largest, scaleBy } from './pointwise';
import { scratch } from './scratch';
import { word } from './words';

const SEGMENTS: usize = 40;
const SEGMENT_BYTES: usize = 28;
/** What masks add to the scores of hidden tokens, or less. */
const HIDDEN: f32 = -1e9;

/** How many tokens of a segment a row of the batch looks at: up to the last one that is not hidden, at least one. */
function seenOf(segment: usize, b: usize): usize {
  let n = word(segment, 3);
  if (word(segment, 6)) return n;
  const mask = word(segment, 2) + b * word(segment, 5);
  const hidden = f32x4.splat(HIDDEN);
  while (n > 4 && !v128.any_true(f32x4.gt(v128.load(mask + (n - 4) * 4), hidden))) n -= 4;
  while (n > 1 && load<f32>(mask + (n - 1) * 4) <= HIDDEN) n--;
  return n;
}

/** scores = query · keysᵀ + mask */
export function attendScores<T>(at: usize, from: usize, to: usize): void {
  const B = word(at, 3);
  const M = word(at, 5);
  const D = word(at, 6);
  const W = word(at, 7);
  const parts = word(at, 8);
  for (let unit = from; unit < to; unit++) {
    const h = unit / parts / B;
    const b = (unit / parts) % B;
    const index = b * word(at, 4) + h;
    const first = columnOf(W, parts, unit % parts);
    const last = columnOf(W, parts, (unit % parts) + 1);
    const query = word(at, 0) + index * M * D * 4;
    const scores = word(at, 1) + index * M * W * 4;
    let segment = at + SEGMENTS;
    let start: usize = 0;
    for (let s: usize = 0; s < word(at, 9); s++) {
      const n = word(segment, 3);
      const end = start + seenOf(segment, b);
      if (first < end && last > start) {
        timesColumns<T>(
          query, D * 4, word(segment, 0) + b * word(segment, 4) + h * n * D * sizeof<T>(), scores + start * 4, W * 4,
          word(segment, 2) + b * word(segment, 5), word(segment, 6), M, D,
          max(first, start) - start, min(last, end) - start,
        );
      }
      start += n;
      segment += SEGMENT_BYTES;
    }
  }
}

/** scores = softmax(scores), rows `from`..`to` of all [B · H · M, W] */
export function attendSoftmax(at: usize, from: usize, to: usize): void {
  const rows = word(at, 4) * word(at, 5);
  const W = word(at, 7);
  const count = word(at, 9);
  let b: usize = -1;
  for (let row = from; row < to; row++) {
    if (row / rows !== b) {
      b = row / rows;
      noteSeen(at, b);
    }
    const scores = word(at, 1) + row * W * 4;
    let top: f32 = -f32.MAX_VALUE * 2;
    let x = scores;
    for (let s: usize = 0; s < count; s++) {
      top = max(top, largest(x, load<u32>(scratch + s * 4)));
      x += lengthOf(at, s) * 4;
    }
    let sum: f64 = 0;
    x = scores;
    for (let s: usize = 0; s < count; s++) {
      sum += exponentials(x, x, load<u32>(scratch + s * 4), top);
      x += lengthOf(at, s) * 4;
    }
    x = scores;
    for (let s: usize = 0; s < count; s++) {
      scaleBy(<f32>(1 / sum), x, load<u32>(scratch + s * 4));
      x += lengthOf(at, s) * 4;
    }
  }
}

// @ts-ignore: decorator
@inline
function lengthOf(at: usize, segment: usize): usize {
  return word(at + SEGMENTS + segment * SEGMENT_BYTES, 3);
}

/** `seenOf` of every segment, in the thread's scratch: fewer than 64 of them. */
function noteSeen(at: usize, b: usize): void {
  for (let s: usize = 0; s < word(at, 9); s++) {
    store<u32>(scratch + s * 4, <u32>seenOf(at + SEGMENTS + s * SEGMENT_BYTES, b));
  }
}

/** out = scores · values */
export function attendValues<T>(at: usize, from: usize, to: usize): void {
  const B = word(at, 3);
  const M = word(at, 5);
  const D = word(at, 6);
  const W = word(at, 7);
  const parts = word(at, 8);
  // Neighbouring parts of one matrix are one: its rows are read whole, one after the other.
  for (let unit = from, next = from; unit < to; unit = next) {
    next = min((unit / parts + 1) * parts, to);
    const h = unit / parts / B;
    const b = (unit / parts) % B;
    const index = b * word(at, 4) + h;
    const first = columnOf(D, parts, unit % parts);
    const last = columnOf(D, parts, ((next - 1) % parts) + 1);
    const out = word(at, 2) + index * M * D * 4;
    let scores = word(at, 1) + index * M * W * 4;
    let segment = at + SEGMENTS;
    let addend: usize = 0;
    for (let s: usize = 0; s < word(at, 9); s++) {
      const n = word(segment, 3);
      timesRows<T>(
        scores, W * 4, word(segment, 1) + b * word(segment, 4) + h * n * D * sizeof<T>(), D * sizeof<T>(), out, D * 4,
        addend, D * 4, M, seenOf(segment, b), first, last,
      );
      addend = out;
      scores += n * 4;
      segment += SEGMENT_BYTES;
    }
  }
}

/** Where a part of `count` columns begins: parts are multiples of `tile`. */
export function columnOf(count: usize, parts: usize, part: usize, tile: usize = 16): usize {
  const step = ((count + parts * tile - 1) / (parts * tile)) * tile;
  return min(part * step, count);
}
