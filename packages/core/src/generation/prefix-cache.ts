// Keys and values of what has been read: the sequence that is being read lies in one cache, where the graph
// sees it; other branches and conversations lie aside in a tree. Both together stay within a budget.
import type { Tensor } from '../graph/tensor.ts';
import type { TensorMemory } from '../runtime/runtime.ts';
import type { ModelConfig } from '../weights/model-config.ts';
import { KeyValueCache, plainMemory, roomFor, tokenBytes } from './key-value-cache.ts';
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
  readonly #memory: TensorMemory;
  readonly #tokens: number[] = [];
  readonly #tree: PrefixTree<KeyValueRows>;
  readonly #budgetBytes: number;
  readonly #tokenBytes: number;
  /** The inputs of a beginning without tokens. */
  readonly #nothing: Record<string, Tensor>;

  /** Call `dispose` when it is not needed any more. Where memory ends in between, nothing is kept. */
  constructor(config: ModelConfig, { budgetBytes, memory = plainMemory }: Options) {
    this.#config = config;
    this.#memory = memory;
    this.#budgetBytes = budgetBytes;
    this.#tokenBytes = tokenBytes(config, memory.dtype);
    this.cache = new KeyValueCache(config, memory);
    this.cache.add();
    this.#nothing = this.cache.sharedFeeds();
    this.#tree = new PrefixTree(this, 0);
    this.#bound();
  }

  /** The tokens in `cache`. */
  get tokens(): readonly number[] {
    return this.#tokens;
  }

  /** Bytes of keys and values: those in `cache`, with its free room, and those aside. */
  get sizeBytes(): number {
    return this.cache.sizeBytes + this.#tree.size * this.#tokenBytes;
  }

  /**
   * Turns to a sequence: `tokens` are then those of its beginning that need not be read again. While rows
   * change places they are there twice.
   */
  select(tokens: readonly number[]): void {
    this.#tree.select(tokens, this.#roomBeside(this.cache.sizeFor(tokens.length)));
  }

  /** What the graph sees of the past: this sequence, or as well what each of `slots` has read after it. */
  feeds(slots?: KeyValueCache): Record<string, Tensor> {
    return slots
      ? { ...this.cache.sharedFeeds(), ...slots.feeds() }
      : { ...this.#nothing, ...this.cache.feeds() };
  }

  /** Adds tokens that the graph has read after those of `cache`. */
  append(tokens: readonly number[], made: Record<string, Tensor>): void {
    this.#change(() => this.cache.append(made, tokens.length));
    this.#tokens.push(...tokens);
    this.#bound();
  }

  /** A cache without slots for replies that go on from this sequence; the caller disposes of it. */
  spread(): KeyValueCache {
    return new KeyValueCache(this.#config, this.#memory);
  }

  /** Replies of so many tokens that have room side by side in a spread cache: at least one. */
  slotsFor(tokens: number): number {
    return Math.max(1, Math.floor(this.#roomBeside(this.cache.sizeBytes) / roomFor(tokens)));
  }

  /** Adds a token that the graph has read for each slot of a spread cache. */
  appendTo(slots: KeyValueCache, made: Record<string, Tensor>): void {
    slots.append(made, 1);
    this.#bound(slots.sizeBytes);
  }

  /** Keeps what a slot of a spread cache has read after the tokens of this one, if it holds all of it. */
  keep(following: readonly number[], slots: KeyValueCache, slot: number): void {
    if (slots.lengths[slot] !== following.length) return;
    const { length } = this.#tokens;
    this.#tree.add([...this.#tokens, ...following], (from, to) =>
      slots.take(slot, from - length, to - length),
    );
  }

  dispose(): void {
    this.#tree.clear();
    this.#tokens.length = 0;
    this.cache.dispose();
  }

  take(from: number, to: number): KeyValueRows {
    return this.cache.take(0, from, to);
  }

  crop(length: number, room?: number): void {
    this.cache.crop(length);
    this.#tokens.length = length;
    if (room !== undefined) this.#change(() => this.cache.reserve(room));
  }

  put(tokens: readonly number[], rows: KeyValueRows): void {
    this.#change(() => this.cache.put(rows));
    this.#tokens.push(...tokens);
  }

  /** A cache that fails is empty: what the tree knows begins with what it held. */
  #change(change: () => void): void {
    try {
      change();
    } catch (error) {
      this.#tokens.length = this.cache.lengths[0]!;
      this.#tree.clear();
      throw error;
    }
  }

  /** What lies aside has the room that the sequence leaves, and replies that go on from it. */
  #bound(replyBytes = 0): void {
    this.#tree.limit = this.#roomBeside(this.cache.sizeBytes + replyBytes);
  }

  /** Tokens that fit beside a cache of this size. */
  #roomBeside(sizeBytes: number): number {
    return Math.floor(Math.max(0, this.#budgetBytes - sizeBytes) / this.#tokenBytes);
  }
}
