// Keys and values of consecutive tokens in one plain array: what is laid aside of a cache.

import { giveUp, noughts, type Floats } from '../graph/tensor.ts';

export class KeyValueRows {
  readonly heads: number;
  readonly headDim: number;
  /** Tokens. */
  readonly length: number;
  readonly dtype: Floats['dtype'];
  /** [heads, tokens, headDim]; heads are those of the keys of each layer, then of the values. */
  readonly data: Floats['data'];

  /** Zeros. */
  constructor(heads: number, headDim: number, length: number, dtype: Floats['dtype']) {
    this.heads = heads;
    this.headDim = headDim;
    this.length = length;
    this.dtype = dtype;
    this.data = noughts(dtype, heads * length * headDim);
  }

  /** The rows [tokens, headDim] of one head. */
  head(index: number): Floats['data'] {
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
    const part = new KeyValueRows(heads, headDim, to - from, this.dtype);
    for (let h = 0; h < heads; h++) {
      part.head(h).set(this.head(h).subarray(from * headDim, to * headDim));
    }
    return part;
  }
}
