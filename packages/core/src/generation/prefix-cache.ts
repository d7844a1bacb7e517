// Keys and values of what has been read: the sequence that is being read lies in one cache, where the graph
// sees it; other branches and conversations lie aside in a tree. Both together stay within a budget.
import type { Tensor } from '../graph/tensor.ts';
import type { TensorMemory } from '../runtime/runtime.ts';
import type { ModelConfig } from '../weights/model-config.ts';
import { KeyValueCache } from './key-value-cache.ts';
import type { KeyValueRows } from './key-value-rows.ts';
import { PrefixTree, type Place } from './prefix-tree.ts';

interface Options {
  /** Bytes of keys and values. A sequence longer than that is kept all the same, and nothing beside it. */
  readonly budgetBytes: number;
  readonly memory?: TensorMemory | undefined;
}

export class PrefixCache implements Place<KeyValueRows> {
  /** What is being read, in one slot. */
  readonly cache: KeyValueCache;
  readonly #config: ModelConfig;
  readonly #memory: TensorMemory | undefined;
  readonly #tokens: number[] = [];
  readonly #tree: PrefixTree<KeyValueRows>;
  readonly #budgetBytes: number;

  /** Call `dispose` when it is not needed any more. */
  constructor(config: ModelConfig, { budgetBytes, memory }: Options) {
    this.#config = config;
    this.#memory = memory;
    this.#budgetBytes = budgetBytes;
    this.cache = new KeyValueCache(config, memory);
    this.cache.add();
    this.#tree = new PrefixTree(this, 0);
    this.#bound();
  }

  /** The tokens in `cache`. */
  get tokens(): readonly number[] {
    return this.#tokens;
  }

  /** Bytes of keys and values: those in `cache`, with its free room, and those aside. */
  get sizeBytes(): number {
    return this.cache.sizeBytes + this.#tree.size * tokenBytes(this.#config);
  }

  /**
   * Turns to a sequence: `tokens` are then those of its beginning that need not be read again. While rows
   * change places they are there twice.
   */
  select(tokens: readonly number[]): void {
    this.#tree.select(tokens, this.#roomBeside(this.cache.sizeFor(tokens.length)));
  }

  /** Adds tokens that the graph has read after those of `cache`. */
  append(tokens: readonly number[], made: Record<string, Tensor>): void {
    this.cache.append(made, tokens.length);
    this.#tokens.push(...tokens);
    this.#bound();
  }

  /** A cache of `slots` sequences that begin as this one; the caller disposes of it. */
  spread(slots: number): KeyValueCache {
    const cache = new KeyValueCache(this.#config, this.#memory);
    for (let slot = 0; slot < slots; slot++) cache.add(this.cache);
    return cache;
  }

  /** Keeps what a slot of a spread cache has read: `following` after the tokens of this one. */
  keep(following: readonly number[], cache: KeyValueCache, slot: number): void {
    this.#tree.add([...this.#tokens, ...following], (from, to) => cache.take(slot, from, to));
  }

  dispose(): void {
    this.#tree.limit = 0;
    this.cache.dispose();
  }

  take(from: number, to: number): KeyValueRows {
    return this.cache.take(0, from, to);
  }

  crop(length: number, room?: number): void {
    this.cache.crop(length);
    if (room !== undefined) this.cache.reserve(room);
    this.#tokens.length = length;
  }

  put(tokens: readonly number[], rows: KeyValueRows): void {
    this.cache.put(rows);
    this.#tokens.push(...tokens);
  }

  /** What lies aside has the room that the sequence leaves. */
  #bound(): void {
    this.#tree.limit = this.#roomBeside(this.cache.sizeBytes);
  }

  /** Tokens that fit beside a cache of this size. */
  #roomBeside(sizeBytes: number): number {
    return Math.floor(Math.max(0, this.#budgetBytes - sizeBytes) / tokenBytes(this.#config));
  }
}

/** Bytes of the keys and values of one token. */
const tokenBytes = ({ layers, kvHeads, headDim }: ModelConfig): number =>
  2 * layers * kvHeads * headDim * Float32Array.BYTES_PER_ELEMENT;
