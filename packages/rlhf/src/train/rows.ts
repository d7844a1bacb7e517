// Tokenised rows, and how some of them lie in one run of a graph. Lengths are explicit everywhere: no mask
// is ever derived from a token id.
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

/** Tokens of a document that are given, so that the rest can be predicted. */
const OPENING = 4;

/**
 * A document without the chat's template, for the mix (ptx): it keeps the language without teaching whose
 * style to answer in. Null when nothing is left to predict.
 */
export function documentRow(ids: readonly number[]): Row | null {
  return ids.length > OPENING ? { prompt: ids.slice(0, OPENING), reply: ids.slice(OPENING) } : null;
}

export const lengthOf = (row: Row): number => row.prompt.length + row.reply.length;

/** The work of one token in the linears, in cells of its attention: measured, see docs/log.md. */
const CELLS_PER_TOKEN = 900;
const workOf = (rows: number, width: number) => rows * width * (CELLS_PER_TOKEN + width);

/**
 * Where the tokens of some rows lie in one run of a graph: rows padded side by side, or, when all answer one
 * prompt and that is less work, the prompt once and all replies behind it, blind to each other; or, when packed is
 * asked for, whole rows one after another, blind to each other. Attention is as wide as a sequence.
 */
export class Layout<R extends Row = Row> {
  readonly rows: readonly R[];
  /** B and T of the run. */
  readonly batch: number;
  readonly width: number;
  /** In one sequence: where each row's own part begins, its reply or all of it. */
  readonly #starts: readonly number[] | null;
  /** Tokens at the beginning that all rows of the one sequence share. */
  readonly #common: number;

  constructor(rows: readonly R[], packed = false) {
    this.rows = rows;
    const widest = Math.max(...rows.map(lengthOf));
    const common = packed ? 0 : rows[0]!.prompt.length;
    let end = common;
    const starts = rows.map((row) => {
      const own = lengthOf(row) - common;
      return (end += own) - own;
    });
    const shared =
      rows.length > 1 &&
      workOf(1, end) < workOf(rows.length, widest) &&
      rows.every((row) => promptKey(row) === promptKey(rows[0]!));
    const oneSequence = packed || shared;
    this.#starts = oneSequence ? starts : null;
    this.#common = common;
    [this.batch, this.width] = oneSequence ? [1, end] : [rows.length, widest];
  }

  /** Of token `t` of row `i` in B·T. */
  index(i: number, t: number): number {
    if (!this.#starts) return i * this.width + t;
    return t < this.#common ? t : this.#starts[i]! + t - this.#common;
  }

  /** `positions` and `mask` for `groups` query heads per key head. */
  feeds(groups: number): Record<string, Tensor> {
    const positions = new BigInt64Array(this.batch * this.width);
    this.#each((index, t) => (positions[index] = BigInt(t)));
    return {
      positions: int64([this.batch, this.width], positions),
      mask: this.#starts ? this.#blindMask(groups) : causalMask(this.width, groups),
    };
  }

  /** `tokens`, padded with 0. */
  tokens(): Record<string, Tensor> {
    const tokens = new BigInt64Array(this.batch * this.width);
    this.#each((index, t, { prompt, reply }) => {
      tokens[index] = BigInt(t < prompt.length ? prompt[t]! : reply[t - prompt.length]!);
    });
    return { tokens: int64([this.batch, this.width], tokens) };
  }

  /** [B, T, D] from what each row keeps for its tokens [t·D], padded with zeros. */
  gather(kept: (row: R) => Float32Array, size: number): Tensor {
    const data = new Float32Array(this.batch * this.width * size);
    this.#parts((row, from, count, index) => {
      data.set(kept(row).subarray(from * size, (from + count) * size), index * size);
    });
    return float32([this.batch, this.width, size], data);
  }

  /** The reverse: [B·T·D] as what belongs to each row, in their order. */
  scatter(data: Float32Array, size: number): Float32Array[] {
    const parts = new Map<R, Float32Array>();
    this.#parts((row, from, count, index) => {
      const own = parts.get(row) ?? new Float32Array(lengthOf(row) * size);
      own.set(data.subarray(index * size, (index + count) * size), from * size);
      parts.set(row, own);
    });
    return this.rows.map((row) => parts.get(row)!);
  }

  /**
   * Which positions predict the reply tokens, and the tokens: `select` [N, 2] and `targets` [N], rows in
   * order. With `after`, each row also selects its last position (target 0).
   */
  replies(after = false): Record<string, Tensor> {
    const select: number[] = [];
    const targets: number[] = [];
    this.rows.forEach(({ prompt, reply }, i) => {
      for (let t = 0; t < reply.length + Number(after); t++) {
        const index = this.index(i, prompt.length - 1 + t);
        select.push(Math.floor(index / this.width), index % this.width);
        targets.push(reply[t] ?? 0);
      }
    });
    return {
      select: int64([targets.length, 2], select),
      targets: int64([targets.length], targets),
    };
  }

  #each(visit: (index: number, t: number, row: R) => void): void {
    this.rows.forEach((row, i) => {
      for (let t = 0; t < lengthOf(row); t++) visit(this.index(i, t), t, row);
    });
  }

  /** Runs of tokens that lie together: of `row`, `count` from `from` on, at `index`. */
  #parts(visit: (row: R, from: number, count: number, index: number) => void): void {
    this.rows.forEach((row, i) => {
      const prompt = row.prompt.length;
      visit(row, 0, prompt, this.index(i, 0));
      visit(row, prompt, row.reply.length, this.index(i, prompt));
    });
  }

  /** [1, 1, G·T, T]: every token sees what all share and its own part, up to itself. */
  #blindMask(groups: number): Tensor {
    const { width } = this;
    const data = new Float32Array(groups * width * width).fill(-1e9);
    this.#each((query, t) => {
      const own = Math.max(0, t + 1 - this.#common);
      for (let g = 0; g < groups; g++) {
        const line = (g * width + query) * width;
        data.fill(0, line, line + Math.min(t + 1, this.#common));
        data.fill(0, line + query + 1 - own, line + query + 1);
      }
    });
    return float32([1, 1, groups * width, width], data);
  }
}

/** What tells prompts apart. */
export const promptKey = ({ prompt }: Pick<Row, 'prompt'>): string => prompt.join();

/**
 * Batches of a budget of padded tokens each: replies to one prompt together where that is less work, the rest
 * by length, longest first, so that padding is small.
 */
export function batchesOf<T>(
  items: readonly T[],
  rowOf: (item: T) => Row,
  budgetTokens: number,
): T[][] {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = promptKey(rowOf(item));
    groups.set(key, [...(groups.get(key) ?? []), item]);
  }
  const batches: T[][] = [];
  const alone: T[] = [];
  for (const group of groups.values()) {
    const whole = new Layout(group.map(rowOf));
    if (group.length > 1 && whole.batch === 1 && whole.width <= budgetTokens) batches.push(group);
    else alone.push(...group);
  }
  return [...batches, ...byLength(alone, (item) => lengthOf(rowOf(item)), budgetTokens)];
}

function byLength<T>(
  items: readonly T[],
  length: (item: T) => number,
  budgetTokens: number,
): T[][] {
  const batches: T[][] = [];
  let current: T[] = [];
  for (const item of [...items].sort((a, b) => length(b) - length(a))) {
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

/** B and T of the run with the most work. */
export function largestOf(runs: readonly (readonly Row[])[]): { batch: number; width: number } {
  const layouts = runs.map((rows) => new Layout(rows));
  return layouts.reduce((a, b) => (workOf(b.batch, b.width) > workOf(a.batch, a.width) ? b : a));
}

/** Groups of rows whose lengths together fit a budget, longest first, each where there is room. */
export function packByRoom<T>(
  items: readonly T[],
  length: (item: T) => number,
  budgetTokens: number,
): T[][] {
  const bins: { items: T[]; room: number }[] = [];
  for (const item of [...items].sort((a, b) => length(b) - length(a))) {
    const size = length(item);
    const bin = bins.find(({ room }) => room >= size);
    if (bin) {
      bin.items.push(item);
      bin.room -= size;
    } else bins.push({ items: [item], room: budgetTokens - size });
  }
  return bins.map((bin) => bin.items);
}
