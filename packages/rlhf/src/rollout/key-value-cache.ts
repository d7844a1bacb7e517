// Keys and values of what has been read, per layer, for several replies side by side. The graph sees
// them as padded inputs with a mask and gives back only new rows, so nothing is copied per token.
import { float32, type ModelConfig, type Tensor } from '@rapport/core';

const GROW_BY = 128;

export class KeyValueCache {
  /** Tokens in each slot. */
  readonly lengths: number[];
  #capacity = 0;
  #buffers: Float32Array[];
  readonly #config: ModelConfig;

  constructor(config: ModelConfig, slots: number) {
    this.#config = config;
    this.lengths = new Array<number>(slots).fill(0);
    this.#buffers = Array.from({ length: 2 * config.layers }, () => new Float32Array(0));
  }

  /** Inputs `past.k.<layer>`, `past.v.<layer>` [B, kvHeads, P, headDim] and `pastMask` [B, 1, 1, P]. */
  feeds(): Record<string, Tensor> {
    const { kvHeads, headDim, layers } = this.#config;
    const slots = this.lengths.length;
    const shape = [slots, kvHeads, this.#capacity, headDim];
    const mask = new Float32Array(slots * this.#capacity).fill(-1e9);
    this.lengths.forEach((length, slot) => {
      const start = slot * this.#capacity;
      mask.fill(0, start, start + length);
    });
    const feeds: Record<string, Tensor> = {
      pastMask: float32([slots, 1, 1, this.#capacity], mask),
    };
    this.#buffers.forEach((buffer, i) => {
      feeds[i < layers ? `past.k.${i}` : `past.v.${i - layers}`] = float32(shape, buffer);
    });
    return feeds;
  }

  /** Adds the `count` new rows of every slot, as the graph gave them. */
  append(made: Record<string, Tensor>, count: number): void {
    const { kvHeads, headDim, layers } = this.#config;
    this.#fit(Math.max(...this.lengths) + count);
    this.#buffers.forEach((buffer, i) => {
      const name = i < layers ? `new.k.${i}` : `new.v.${i - layers}`;
      const rows = made[name]!.data as Float32Array;
      this.lengths.forEach((length, slot) => {
        for (let h = 0; h < kvHeads; h++) {
          const head = slot * kvHeads + h;
          const from = head * count * headDim;
          const to = (head * this.#capacity + length) * headDim;
          buffer.set(rows.subarray(from, from + count * headDim), to);
        }
      });
    });
    this.lengths.forEach((length, slot) => (this.lengths[slot] = length + count));
  }

  /** Forgets what comes after the first `length` tokens of every slot. */
  crop(length: number): void {
    this.lengths.forEach((held, slot) => (this.lengths[slot] = Math.min(held, length)));
  }

  /** `slots` copies of the only slot of this cache. */
  spread(slots: number): KeyValueCache {
    const copy = new KeyValueCache(this.#config, slots);
    copy.#capacity = this.#capacity;
    copy.#buffers = this.#buffers.map((buffer) => {
      const all = new Float32Array(buffer.length * slots);
      for (let slot = 0; slot < slots; slot++) all.set(buffer, slot * buffer.length);
      return all;
    });
    copy.lengths.fill(this.lengths[0]!);
    return copy;
  }

  #fit(length: number): void {
    if (length <= this.#capacity) return;
    const { kvHeads, headDim } = this.#config;
    const [from, to] = [this.#capacity, Math.ceil(length / GROW_BY) * GROW_BY];
    const heads = this.lengths.length * kvHeads;
    this.#buffers = this.#buffers.map((old) => {
      const grown = new Float32Array(heads * to * headDim);
      for (let h = 0; h < heads; h++) {
        const rows = old.subarray(h * from * headDim, (h + 1) * from * headDim);
        grown.set(rows, h * to * headDim);
      }
      return grown;
    });
    this.#capacity = to;
  }
}
