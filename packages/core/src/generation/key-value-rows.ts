// Keys and values of consecutive tokens in one plain array: what is laid aside of a cache.

import { giveUp } from '../graph/tensor.ts';

export class KeyValueRows {
  /** [heads, tokens, headDim]; heads are those of the keys of each layer, then of the values. */
  readonly data: Float32Array;
  readonly heads: number;
  readonly headDim: number;

  constructor(heads: number, headDim: number, data: Float32Array) {
    this.heads = heads;
    this.headDim = headDim;
    this.data = data;
  }

  /** Tokens. */
  get length(): number {
    return this.data.length / (this.heads * this.headDim);
  }

  /** The rows [tokens, headDim] of one head. */
  head(index: number): Float32Array {
    const size = this.length * this.headDim;
    return this.data.subarray(index * size, (index + 1) * size);
  }

  /** The rows of the first `at` tokens and those of the rest, copied; these are given up. */
  split(at: number): readonly [KeyValueRows, KeyValueRows] {
    const parts = [this.#slice(0, at), this.#slice(at, this.length)] as const;
    this.giveUp();
    return parts;
  }

  /** Gives their memory back; they are not read again. */
  giveUp(): void {
    giveUp(this.data);
  }

  #slice(from: number, to: number): KeyValueRows {
    const { heads, headDim } = this;
    const size = (to - from) * headDim;
    const data = new Float32Array(heads * size);
    for (let h = 0; h < heads; h++) {
      data.set(this.head(h).subarray(from * headDim, to * headDim), h * size);
    }
    return new KeyValueRows(heads, headDim, data);
  }
}
