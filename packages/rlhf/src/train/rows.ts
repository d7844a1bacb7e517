// Tokenised rows, and how some of them lie in one run of a graph. Lengths are explicit everywhere: no mask
// is ever derived from a token id.
import { float32, int64 } from '@rapport/core';
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
const workOf = (sequences: number, width: number) => sequences * width * (CELLS_PER_TOKEN + width);

/** Where a row lies: after `common` tokens that all rows of its sequence share, its own ones begin at `start`. */
interface Place {
  readonly sequence: number;
  readonly common: number;
  readonly start: number;
}

/**
 * Where the tokens of some rows lie in one run of a graph: sequences side by side, padded to the longest. A sequence is a row, or, when
 * rows answer one prompt and that is less work, the prompt once and all replies behind it, blind to each other; or,
 * when packed is asked for, all rows one after another, blind to each other. Attention is as wide as a sequence.
 */
export class Layout<R extends Row = Row> {
  readonly rows: readonly R[];
  /** B and T of the run. */
  readonly batch: number;
  readonly width: number;
  readonly #places: readonly Place[];

  constructor(rows: readonly R[], packed = false) {
    this.rows = rows;
    const all = [...rows.keys()];
    const sequences = packed ? [{ members: all, common: 0 }] : sequencesOf(rows);
    const places: Place[] = [];
    let widest = 0;
    for (const [sequence, { members, common }] of sequences.entries()) {
      let end = common;
      for (const i of members) {
        places[i] = { sequence, common, start: end };
        end += lengthOf(rows[i]!) - common;
      }
      widest = Math.max(widest, end);
    }
    this.#places = places;
    [this.batch, this.width] = [sequences.length, widest];
  }

  /** Of token `t` of row `i` in B·T. */
  index(i: number, t: number): number {
    const { sequence, common, start } = this.#places[i]!;
    return sequence * this.width + (t < common ? t : start + t - common);
  }

  /** `positions` and `mask` for `groups` query heads per key head. */
  feeds(groups: number): Record<string, Tensor> {
    const positions = new BigInt64Array(this.batch * this.width);
    this.#each((index, t) => (positions[index] = BigInt(t)));
    return {
      positions: int64([this.batch, this.width], positions),
      mask: this.#mask(groups),
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

  /** [B, 1, G·T, T]: every token sees what its sequence shares and its own row, up to itself. */
  #mask(groups: number): Tensor {
    const { batch, width } = this;
    const data = new Float32Array(batch * groups * width * width).fill(-1e9);
    this.rows.forEach((row, i) => {
      const { sequence, common, start } = this.#places[i]!;
      for (let g = 0; g < groups; g++) {
        const first = (sequence * groups + g) * width;
        for (let t = 0; t < lengthOf(row); t++) {
          const at = this.index(i, t) - sequence * width;
          const line = (first + at) * width;
          data.fill(0, line, line + Math.min(t + 1, common));
          if (t >= common) data.fill(0, line + start, line + at + 1);
        }
      }
    });
    return float32([batch, 1, groups * width, width], data);
  }
}

/** Numbers of rows in each sequence: those that answer one prompt where sharing it is less work, else one. */
function sequencesOf(rows: readonly Row[]): { members: number[]; common: number }[] {
  return byPrompt([...rows.keys()], (i) => rows[i]!).flatMap((members) => {
    const common = rows[members[0]!]!.prompt.length;
    const lengths = members.map((i) => lengthOf(rows[i]!));
    const end = lengths.reduce((sum, length) => sum + length - common, common);
    const shares =
      members.length > 1 && workOf(1, end) < workOf(members.length, Math.max(...lengths));
    return shares ? [{ members, common }] : members.map((i) => ({ members: [i], common: 0 }));
  });
}

/** What tells prompts apart. */
export const promptKey = ({ prompt }: Pick<Row, 'prompt'>): string => prompt.join();

/** Items whose rows answer one prompt, together. */
function byPrompt<T>(items: readonly T[], rowOf: (item: T) => Row): T[][] {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = items.length > 1 ? promptKey(rowOf(item)) : '';
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return [...groups.values()];
}

/**
 * Batches of a budget of padded tokens each, the longest first, so that padding is small: replies to one prompt together where they
 * share it and there is room, the rest as it comes.
 */
export function batchesOf<T>(
  items: readonly T[],
  rowOf: (item: T) => Row,
  budgetTokens: number,
): T[][] {
  const together = byPrompt(items, rowOf).flatMap((group) => {
    const { batch, width } = new Layout(group.map(rowOf));
    return batch === 1 && width <= budgetTokens ? [group] : group.map((item) => [item]);
  });
  return runsOf(together, (group) => group.map(rowOf), budgetTokens).map((run) => run.flat());
}

/** Sets of rows that are run together: as many in each run as a budget of padded tokens has room for, or one; the longest first. */
export function runsOf<T>(
  sets: readonly T[],
  rowsOf: (set: T) => readonly Row[],
  budgetTokens: number,
): T[][] {
  const widths = new Map(sets.map((set) => [set, new Layout(rowsOf(set)).width]));
  const runs: T[][] = [];
  let taken: readonly Row[] = [];
  for (const set of [...sets].sort((a, b) => widths.get(b)! - widths.get(a)!)) {
    const rows = [...taken, ...rowsOf(set)];
    const { batch, width } = new Layout(rows);
    const fits = taken.length > 0 && batch * width <= budgetTokens;
    if (fits) runs.at(-1)!.push(set);
    else runs.push([set]);
    taken = fits ? rows : rowsOf(set);
  }
  return runs;
}

/** B and T of the run with the most work that `runsOf` can make of at most `together` of these sets. */
export function largestRun(
  sets: readonly (readonly Row[])[],
  together: number,
  budgetTokens: number,
): { batch: number; width: number } {
  const runs = sets.map((rows) => {
    const { batch, width } = new Layout(rows);
    const room = Math.floor(budgetTokens / (batch * width));
    return { batch: batch * Math.max(1, Math.min(together, room)), width };
  });
  return runs.reduce((a, b) => (workOf(b.batch, b.width) > workOf(a.batch, a.width) ? b : a));
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
