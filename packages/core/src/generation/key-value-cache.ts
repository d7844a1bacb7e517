// Keys and values of what has been read, per layer, for several replies side by side. The graph sees
// them as padded inputs with a mask and gives back only new rows, so nothing is copied per token.
import { assert } from '../error.ts';
import { float32, giveUp, noughts, zeros, type Floats, type Tensor } from '../graph/tensor.ts';
import type { TensorMemory } from '../runtime/runtime.ts';
import type { ModelConfig } from '../weights/model-config.ts';
import { KeyValueRows } from './key-value-rows.ts';

const GROW_BY = 128;

/** Arrays that nobody has to give back. */
export const plainMemory: TensorMemory = {
  dtype: 'float32',
  allocate: zeros,
  free: () => undefined,
};

export class KeyValueCache {
  readonly #config: ModelConfig;
  readonly #memory: TensorMemory;
  /** Tokens in each slot. */
  readonly #lengths: number[] = [];
  #capacity = 0;
  #slots = 0;
  /** Keys of each layer, then values of each layer: [slots, kvHeads, capacity, headDim]; none without room. */
  #tensors: Floats[] = [];
  /** What was fed of each last. */
  readonly #fed: { whole: Floats['data'] | undefined; tensor: Floats }[] = [];

  /**
   * With the `memory` of a runtime, call `dispose` when the cache is not needed any more. What that memory
   * throws passes through, and leaves all slots empty.
   */
  constructor(config: ModelConfig, memory: TensorMemory = plainMemory) {
    this.#config = config;
    this.#memory = memory;
  }

  /** Gives the memory back, and leaves all slots empty. */
  dispose(): void {
    const tensors = this.#tensors;
    this.#tensors = [];
    this.#fed.length = 0;
    this.#slots = 0;
    this.#capacity = 0;
    this.#lengths.fill(0);
    for (const tensor of tensors) this.#memory.free(tensor);
  }

  /** Tokens in each slot. */
  get lengths(): readonly number[] {
    return this.#lengths;
  }

  /** Bytes of all slots, with the room they have left. */
  get sizeBytes(): number {
    return this.#bytes(this.#capacity);
  }

  /** What `sizeBytes` will be when `reserve(length)` follows on `crop(length)` or less. */
  sizeFor(length: number): number {
    return this.#bytes(this.#capacityFor(length));
  }

  /** Adds a slot: empty, or with what the only slot of another cache holds. */
  add(prefix?: KeyValueCache): void {
    const { kvHeads, headDim } = this.#config;
    const length = prefix?.lengths[0] ?? 0;
    const slot = this.#lengths.length;
    if (length > 0) this.#fit(slot + 1, length);
    this.#lengths.push(length);
    if (!prefix || length === 0) return;
    this.#tensors.forEach((tensor, i) => {
      for (let h = 0; h < kvHeads; h++) {
        const from = h * prefix.#capacity * headDim;
        const rows = prefix.#tensors[i]!.data.subarray(from, from + length * headDim);
        this.#write(tensor, rows, (slot * kvHeads + h) * this.#capacity * headDim);
      }
    });
  }

  /** Makes room for so many slots at once, where they are to be added one by one. */
  reserveSlots(slots: number): void {
    this.#fit(slots, 1);
  }

  /** Takes a slot away; the last one moves into its place. */
  remove(slot: number): void {
    const { kvHeads, headDim } = this.#config;
    const last = this.#lengths.length - 1;
    const length = this.#lengths.pop()!;
    if (slot === last) return;
    this.#lengths[slot] = length;
    const size = this.#capacity * headDim;
    for (const tensor of this.#tensors) {
      for (let h = 0; h < kvHeads; h++) {
        const from = (last * kvHeads + h) * size;
        const rows = tensor.data.subarray(from, from + length * headDim);
        this.#write(tensor, rows, (slot * kvHeads + h) * size);
      }
    }
  }

  /** Inputs `past.k.<layer>`, `past.v.<layer>` [B, kvHeads, P, headDim] and `pastMask` [B, 1, 1, P]. */
  feeds(): Record<string, Tensor> {
    // Never zero tokens wide: WebGPU cannot bind an empty buffer.
    this.#fit(this.#lengths.length, 1);
    return this.#inputs('past');
  }

  /** The same of the only slot as `shared.…` [1, kvHeads, C, headDim]; without any room C is 0. */
  sharedFeeds(): Record<string, Tensor> {
    return this.#inputs('shared');
  }

  #inputs(segment: 'past' | 'shared'): Record<string, Tensor> {
    const { kvHeads, headDim, layers } = this.#config;
    const slots = this.#lengths.length;
    const shape = [slots, kvHeads, this.#capacity, headDim];
    const size = slots * kvHeads * this.#capacity * headDim;
    const mask = new Float32Array(slots * this.#capacity).fill(-1e9);
    this.#lengths.forEach((length, slot) => {
      const start = slot * this.#capacity;
      mask.fill(0, start, start + length);
    });
    const feeds: Record<string, Tensor> = {
      [`${segment}Mask`]: float32([slots, 1, 1, this.#capacity], mask),
    };
    const { dtype } = this.#memory;
    for (let i = 0; i < 2 * layers; i++) {
      const name = i < layers ? `k.${i}` : `v.${i - layers}`;
      // The same object as long as it is the same: a runtime need not look at it again.
      const last = this.#fed[i];
      const whole = this.#tensors[i]?.data;
      if (!last || last.whole !== whole || last.tensor.shape[0] !== slots) {
        const data = whole?.subarray(0, size) ?? noughts(dtype, 0);
        this.#fed[i] = { whole, tensor: { dtype, shape, data } as Floats };
      }
      feeds[`${segment}.${name}`] = this.#fed[i]!.tensor;
    }
    return feeds;
  }

  /** Adds the `count` new rows of every slot, as the graph gave them, and gives those up. */
  append(made: Record<string, Tensor>, count: number): void {
    const { kvHeads, headDim, layers } = this.#config;
    this.#fit(this.#lengths.length, Math.max(...this.#lengths) + count);
    this.#tensors.forEach((tensor, i) => {
      const name = i < layers ? `new.k.${i}` : `new.v.${i - layers}`;
      const { data: rows, dtype } = made[name] as Floats;
      assert(dtype === tensor.dtype, `${name} is ${dtype}, not ${tensor.dtype}`);
      this.#lengths.forEach((length, slot) => {
        for (let h = 0; h < kvHeads; h++) {
          const head = slot * kvHeads + h;
          const from = head * count * headDim;
          const to = (head * this.#capacity + length) * headDim;
          this.#write(tensor, rows.subarray(from, from + count * headDim), to);
        }
      });
      giveUp(rows);
    });
    this.#lengths.forEach((length, slot) => (this.#lengths[slot] = length + count));
  }

  /** A copy of what a slot holds of its tokens `from` to `to`. */
  take(slot: number, from: number, to: number): KeyValueRows {
    const { kvHeads, headDim, layers } = this.#config;
    const heads = 2 * layers * kvHeads;
    const rows = new KeyValueRows(heads, headDim, to - from, this.#memory.dtype);
    this.#tensors.forEach(({ data }, i) => {
      for (let h = 0; h < kvHeads; h++) {
        const start = (slot * kvHeads + h) * this.#capacity;
        const held = data.subarray((start + from) * headDim, (start + to) * headDim);
        rows.head(i * kvHeads + h).set(held);
      }
    });
    return rows;
  }

  /** Adds rows that were taken from a cache to the only slot. */
  put(rows: KeyValueRows): void {
    const { kvHeads, headDim } = this.#config;
    const length = this.#lengths[0]!;
    assert(rows.dtype === this.#memory.dtype, `rows are ${rows.dtype}`);
    this.#fit(1, length + rows.length);
    this.#tensors.forEach((tensor, i) => {
      for (let h = 0; h < kvHeads; h++) {
        this.#write(tensor, rows.head(i * kvHeads + h), (h * this.#capacity + length) * headDim);
      }
    });
    this.#lengths[0] = length + rows.length;
  }

  /** Forgets what comes after the first `length` tokens of every slot. */
  crop(length: number): void {
    this.#lengths.forEach((held, slot) => (this.#lengths[slot] = Math.min(held, length)));
  }

  /** Makes room for `length` tokens at once, and gives room away that is more than twice that. */
  reserve(length: number): void {
    const capacity = this.#capacityFor(Math.max(length, ...this.#lengths));
    if (capacity !== this.#capacity) this.#move(this.#lengths.length, capacity);
  }

  #capacityFor(length: number): number {
    const needed = roomFor(Math.max(1, length));
    return needed > this.#capacity || 2 * needed < this.#capacity ? needed : this.#capacity;
  }

  #bytes(capacity: number): number {
    const { layers, kvHeads, headDim } = this.#config;
    const heads = 2 * layers * Math.max(this.#slots, this.#lengths.length) * kvHeads;
    return heads * capacity * headDim * bytesOf(this.#memory.dtype);
  }

  /** Room for so many slots of so many tokens. */
  #fit(slots: number, length: number): void {
    if (slots <= this.#slots && length <= this.#capacity) return;
    this.#move(Math.max(slots, this.#slots), Math.max(this.#capacity, roomFor(length)));
  }

  #write(tensor: Floats, numbers: Floats['data'], at: number): void {
    tensor.data.set(numbers, at);
    this.#memory.wrote?.(tensor, at, at + numbers.length);
  }

  /** Moves what is held to tensors of this size, one after the other. */
  #move(slots: number, capacity: number): void {
    const { kvHeads, headDim, layers } = this.#config;
    const from = this.#capacity;
    const kept = Math.min(from, capacity);
    const used = this.#lengths.length * kvHeads;
    try {
      for (let i = 0; i < 2 * layers; i++) {
        const moved = this.#memory.allocate([slots, kvHeads, capacity, headDim]);
        const old = this.#tensors[i];
        this.#tensors[i] = moved;
        if (!old) continue;
        for (let h = 0; h < used; h++) {
          const rows = old.data.subarray(h * from * headDim, (h * from + kept) * headDim);
          this.#write(moved, rows, h * capacity * headDim);
        }
        this.#memory.free(old);
      }
    } catch (error) {
      this.dispose();
      throw error;
    }
    this.#slots = slots;
    this.#capacity = capacity;
  }
}

/** The room that is made for so many tokens. */
export const roomFor = (tokens: number): number => Math.ceil(tokens / GROW_BY) * GROW_BY;

/** Bytes of the keys and values of one token, kept as `dtype`. */
export const tokenBytes = (
  { layers, kvHeads, headDim }: ModelConfig,
  dtype: Floats['dtype'],
): number => 2 * layers * kvHeads * headDim * bytesOf(dtype);

/** Tokens of the longest sequence whose room is within so many bytes. */
export const tokensWithin = (bytes: number, config: ModelConfig, dtype: Floats['dtype']): number =>
  Math.floor(bytes / tokenBytes(config, dtype) / GROW_BY) * GROW_BY;

const bytesOf = (dtype: Floats['dtype']): number => (dtype === 'float16' ? 2 : 4);
