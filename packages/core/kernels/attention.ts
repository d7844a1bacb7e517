// Attention over segments of keys and values where they lie: scores with their masks side by side in one row for
// each query, and after a softmax the sum over values. An instruction's words are: query [B, H, M, D], scores
// [B, H, M, W], out as query, B, H, M, D, W, parts, segments; then for each segment: keys and values
// [B or 1, H, n, D], mask, n, and three strides in bytes: of keys and values by batch, of the mask by batch and row.
// Units of work are parts of the columns of each matrix. The rows of a batch for one head follow each other, since
// they may share their keys.
import { timesColumns, timesRows } from './dense';
import { word } from './words';

const SEGMENTS: usize = 40;
const SEGMENT_BYTES: usize = 28;

/** scores = query · keysᵀ + mask */
export function attendScores(at: usize, from: usize, to: usize): void {
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
      const end = start + n;
      if (first < end && last > start) {
        timesColumns(
          query, D * 4, word(segment, 0) + b * word(segment, 4) + h * n * D * 4, scores + start * 4, W * 4,
          word(segment, 2) + b * word(segment, 5), word(segment, 6), M, D,
          max(first, start) - start, min(last, end) - start,
        );
      }
      start = end;
      segment += SEGMENT_BYTES;
    }
  }
}

/** out = scores · values */
export function attendValues(at: usize, from: usize, to: usize): void {
  const B = word(at, 3);
  const M = word(at, 5);
  const D = word(at, 6);
  const W = word(at, 7);
  const parts = word(at, 8);
  for (let unit = from; unit < to; unit++) {
    const h = unit / parts / B;
    const b = (unit / parts) % B;
    const index = b * word(at, 4) + h;
    const first = columnOf(D, parts, unit % parts);
    const last = columnOf(D, parts, (unit % parts) + 1);
    const out = word(at, 2) + index * M * D * 4;
    let scores = word(at, 1) + index * M * W * 4;
    let segment = at + SEGMENTS;
    let addend: usize = 0;
    for (let s: usize = 0; s < word(at, 9); s++) {
      const n = word(segment, 3);
      timesRows(
        scores, W * 4, word(segment, 1) + b * word(segment, 4) + h * n * D * 4, D * 4, out, D * 4,
        addend, D * 4, M, n, first, last,
      );
      addend = out;
      scores += n * 4;
      segment += SEGMENT_BYTES;
    }
  }
}

/** Where a part of `count` columns begins: parts are multiples of 16. */
export function columnOf(count: usize, parts: usize, part: usize): usize {
  const step = ((count + parts * 16 - 1) / (parts * 16)) * 16;
  return min(part * step, count);
}
