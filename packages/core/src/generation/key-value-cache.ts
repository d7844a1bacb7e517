// Keys and values of what has been read, per layer, for several replies side by side. The graph sees
// them as padded inputs with a mask and gives back only new rows, so nothing is copied per token.
import { float32, type Tensor } from '../graph/tensor.ts';
import type { ModelConfig } from '../weights/model-config.ts';

const GROW_BY = 128;

export class KeyValueCache {
  readonly #config: ModelConfig;
  /** Tokens in each slot. */
  readonly #lengths: number[] = [];
  #capacity = 0;
  #slots = 0;
  /** Keys of each layer, then values of each layer: [slots, kvHeads, capacity, headDim]. */
  #buffers: Float32Array[];

  constructor(config: ModelConfig) {
    this.#config = config;
    this.#buffers = Array.from({ length: 2 * config.layers }, () => new Float32Array(0));
  }

  /** Tokens in each slot. */
  get lengths(): readonly number[] {
    return this.#lengths;
  }

  /** Adds a slot: empty, or with what the only slot of another cache holds. */
  add(prefix?: KeyValueCache): void {
    const { kvHeads, headDim } = this.#config;
    const length = prefix?.lengths[0] ?? 0;
    const slot = this.#lengths.length;
    // Never zero tokens wide: WebGPU cannot bind an empty buffer.
    this.#fit(slot + 1, Math.max(1, length));
    this.#lengths.push(length);
    if (!prefix) return;
    this.#buffers.forEach((buffer, i) => {
      for (let h = 0; h < kvHeads; h++) {
        const from = h * prefix.#capacity * headDim;
        const rows = prefix.#buffers[i]!.subarray(from, from + length * headDim);
        buffer.set(rows, (slot * kvHeads + h) * this.#capacity * headDim);
      }
    });
  }

  /** Takes a slot away; the last one moves into its place. */
  remove(slot: number): void {
    const { kvHeads, headDim } = this.#config;
    const last = this.#lengths.length - 1;
    const length = this.#lengths.pop()!;
    if (slot === last) return;
    this.#lengths[slot] = length;
    const size = this.#capacity * headDim;
    for (const buffer of this.#buffers) {
      for (let h = 0; h < kvHeads; h++) {
        const from = (last * kvHeads + h) * size;
        buffer.copyWithin((slot * kvHeads + h) * size, from, from + length * headDim);
      }
    }
  }

  /** Inputs `past.k.<layer>`, `past.v.<layer>` [B, kvHeads, P, headDim] and `pastMask` [B, 1, 1, P]. */
  feeds(): Record<string, Tensor> {
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
      pastMask: float32([slots, 1, 1, this.#capacity], mask),
    };
    this.#buffers.forEach((buffer, i) => {
      const name = i < layers ? `past.k.${i}` : `past.v.${i - layers}`;
      feeds[name] = float32(shape, buffer.subarray(0, size));
    });
    return feeds;
  }

  /** Adds the `count` new rows of every slot, as the graph gave them. */
  append(made: Record<string, Tensor>, count: number): void {
    const { kvHeads, headDim, layers } = this.#config;
    this.#fit(this.#lengths.length, Math.max(...this.#lengths) + count);
    this.#buffers.forEach((buffer, i) => {
      const name = i < layers ? `new.k.${i}` : `new.v.${i - layers}`;
      const rows = made[name]!.data as Float32Array;
      this.#lengths.forEach((length, slot) => {
        for (let h = 0; h < kvHeads; h++) {
          const head = slot * kvHeads + h;
          const from = head * count * headDim;
          const to = (head * this.#capacity + length) * headDim;
          buffer.set(rows.subarray(from, from + count * headDim), to);
        }
      });
    });
    this.#lengths.forEach((length, slot) => (this.#lengths[slot] = length + count));
  }

  /** Forgets what comes after the first `length` tokens of every slot. */
  crop(length: number): void {
    this.#lengths.forEach((held, slot) => (this.#lengths[slot] = Math.min(held, length)));
  }

  /** Room for so many slots of so many tokens. */
  #fit(slots: number, length: number): void {
    if (slots <= this.#slots && length <= this.#capacity) return;
    const { kvHeads, headDim } = this.#config;
    const from = this.#capacity;
    const to = Math.max(from, Math.ceil(length / GROW_BY) * GROW_BY);
    this.#slots = Math.max(slots, this.#slots);
    const used = this.#lengths.length * kvHeads;
    this.#buffers = this.#buffers.map((old) => {
      const grown = new Float32Array(this.#slots * kvHeads * to * headDim);
      for (let h = 0; h < used; h++) {
        const rows = old.subarray(h * from * headDim, (h + 1) * from * headDim);
        grown.set(rows, h * to * headDim);
      }
      return grown;
    });
    this.#capacity = to;
  }
}
