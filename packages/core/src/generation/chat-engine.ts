// Speaks with an open checkpoint: reads a conversation once, keeps what it read, streams one reply or
// several side by side, and stops within a token. It knows no page, no storage, no ONNX Runtime.
import { float32, int64, type Tensor } from '../graph/tensor.ts';
import { adapterFeeds, checkAdapter, type Adapter } from '../models/adapter.ts';
import { chatGraph } from '../models/chat-graph.ts';
import { causalMask } from '../models/model-graph.ts';
import { linearSites, type LinearSite } from '../models/sites.ts';
import type { RunOptions, Runtime, Session, TensorMemory } from '../runtime/runtime.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { Checkpoint } from '../weights/checkpoint.ts';
import { fitContext, type Prompt } from './fit-context.ts';
import { KeyValueCache } from './key-value-cache.ts';
import { PromptLookup } from './prompt-lookup.ts';
import { Stream } from './stream.ts';
import type { SpeakRequest, SpokenReply, SpokenToken } from './speech.ts';

const READ_AT_ONCE = 128;

interface Parts {
  checkpoint: Checkpoint;
  tokenizer: Tokenizer;
  runtime: Runtime;
  /** Tokens read at once: few enough to stop soon, enough to be fast. */
  readAtOnce?: number;
  /**
   * Guesses what a reply says next; replies are the same with any guesses, and with none. By default prompt
   * lookup, and none on a runtime that rounds coarsely: there they would not be the same.
   */
  lookup?: Pick<PromptLookup, 'begin' | 'propose' | 'observe'> | null | undefined;
}

export class ChatEngine {
  readonly #checkpoint: Checkpoint;
  readonly #tokenizer: Tokenizer;
  readonly #session: Session;
  readonly #memory: TensorMemory | undefined;
  readonly #sites: readonly LinearSite[];
  readonly #readAtOnce: number;
  readonly #lookup: Parts['lookup'];
  #lora: Record<string, Tensor>;
  /** What the last conversation left: its tokens, and their keys and values. */
  #kept: { tokens: number[]; cache: KeyValueCache };
  #speaking = false;

  private constructor(
    { checkpoint, tokenizer, runtime, readAtOnce = READ_AT_ONCE, lookup }: Parts,
    session: Session,
    sites: LinearSite[],
  ) {
    this.#checkpoint = checkpoint;
    this.#tokenizer = tokenizer;
    this.#session = session;
    this.#memory = runtime.memory;
    this.#sites = sites;
    this.#readAtOnce = readAtOnce;
    this.#lookup = lookup === undefined && !runtime.isCoarse ? new PromptLookup() : lookup;
    this.#lora = adapterFeeds(sites, null);
    this.#kept = this.#nothing();
  }

  static async create(parts: Parts): Promise<ChatEngine> {
    const { checkpoint, runtime } = parts;
    const { config } = checkpoint;
    const sites = linearSites(config, 0, config.layers);
    const session = await runtime.load(chatGraph(config, sites), async (name) =>
      float32(checkpoint.tensors.get(name)!.shape, await checkpoint.read(name)),
    );
    return new ChatEngine(parts, session, sites);
  }

  /** Speaks with this adapter from the next reply on; null is the bare base. Throws `adapter/unfit`. */
  setAdapter(adapter: Adapter | null): void {
    if (adapter) checkAdapter(this.#sites, adapter);
    this.#lora = adapterFeeds(this.#sites, adapter);
    // A reply that is being spoken still reads its cache, and disposes of it at its end.
    if (!this.#speaking) this.#kept.cache.dispose();
    this.#kept = this.#nothing();
  }

  /** Log-probabilities [V] of the token after `prompt`, as exact as the runtime can. */
  async next(prompt: readonly number[]): Promise<Float32Array> {
    const cache = this.#emptyCache();
    const read = this.#read(cache, [...prompt], { exact: true });
    const logits = await read.finally(() => cache.dispose());
    const best = logits.reduce((a, b) => Math.max(a, b));
    const sum = logits.reduce((a, b) => a + Math.exp(b - best), 0);
    return logits.map((x) => x - best - Math.log(sum));
  }

  /** What is read for `messages`: all of them, or the newest turns where the context is too short. */
  prompt({ messages, samplings, prefix = [] }: SpeakRequest): Prompt {
    const context = this.#checkpoint.config.context - prefix.length;
    const replyTokens = Math.max(...samplings.map(({ maxTokens }) => maxTokens));
    return fitContext(this.#tokenizer, messages, { context, replyTokens });
  }

  /**
   * Streams replies to `messages`, one per sampling; `prefix` is what they have already said. Within
   * one token of `signal` it ends, and gives what was said until then.
   *
   * @throws RapportError `generation/too-long`, `generation/not-a-number`, `tokenizer/…`.
   */
  async *speak(
    request: SpeakRequest,
    signal: AbortSignal,
  ): AsyncGenerator<SpokenToken, SpokenReply[]> {
    const startedMs = performance.now();
    const { samplings, prefix = [] } = request;
    const { tokens: chat, droppedTurns } = this.prompt(request);
    const room = this.#checkpoint.config.context - chat.length - prefix.length;
    const kept = this.#keep([...chat, ...prefix]);
    let slots = kept.cache;
    this.#speaking = true;
    try {
      const logits = await this.#readPrompt(kept, [...chat, ...prefix], signal);
      const streams = samplings.map(
        (sampling) => new Stream(sampling, this.#tokenizer, prefix, room),
      );
      const decodingMs = performance.now();
      const replies = () => {
        const decodeMs = performance.now() - decodingMs;
        const timing = { prefillMs: decodingMs - startedMs, decodeMs };
        const dropped = droppedTurns > 0 ? { droppedTurns } : {};
        return streams.map((stream) => ({ ...stream.reply(timing), ...dropped }));
      };
      if (!logits) return replies();
      if (streams.length > 1) slots = this.#spread(kept.cache, streams.length);
      // What comes after each token that was read: after the one drawn last, and after guesses that follow it.
      let scores = streams.map(() => [logits]);
      let guesses: number[] = [];
      let stepMs = 0;
      this.#lookup?.begin();
      while (!signal.aborted) {
        for (const [index, stream] of streams.entries()) {
          if (stream.finish || signal.aborted) continue;
          let right = 0;
          for (const after of scores[index]!) {
            for (const token of stream.take(after)) yield { index, ...token };
            if (stream.finish || signal.aborted || stream.last !== guesses[right]) break;
            right++;
          }
          if (slots === kept.cache && stepMs > 0) {
            this.#lookup?.observe(guesses.length, right, stepMs);
            forget(kept, guesses.length - right);
          }
        }
        if (streams.every(({ finish }) => finish) || signal.aborted) break;
        const tokens = streams.map(({ last }) => last);
        if (slots === kept.cache) {
          const context = [...kept.tokens, tokens[0]!];
          guesses = this.#lookup?.propose(context, streams[0]!.left - 1) ?? [];
        }
        const readMs = performance.now();
        scores = await this.#step(slots, tokens, guesses);
        stepMs = performance.now() - readMs;
        if (slots === kept.cache) kept.tokens.push(tokens[0]!, ...guesses);
      }
      return replies();
    } finally {
      this.#speaking = false;
      if (slots !== kept.cache) slots.dispose();
      if (kept !== this.#kept) kept.cache.dispose();
    }
  }

  /** What of the last conversation `tokens` begin with. */
  #keep(tokens: readonly number[]) {
    let same = 0;
    // The last token is always read anew: its scores are needed.
    while (same < tokens.length - 1 && this.#kept.tokens[same] === tokens[same]) same++;
    if (same === 0) {
      this.#kept.cache.dispose();
      this.#kept = this.#nothing();
    }
    this.#kept.cache.crop(same);
    this.#kept.tokens.length = same;
    return this.#kept;
  }

  /** Reads what of `tokens` is new; gives the scores of the last, or nothing when stopped. */
  async #readPrompt(
    kept: { tokens: number[]; cache: KeyValueCache },
    tokens: readonly number[],
    signal: AbortSignal,
  ): Promise<Float32Array | undefined> {
    let logits: Float32Array | undefined;
    for (let at = kept.tokens.length; at < tokens.length && !signal.aborted;) {
      const part = tokens.slice(at, at + this.#readAtOnce);
      logits = await this.#read(kept.cache, part);
      kept.tokens.push(...part);
      at += this.#readAtOnce;
    }
    return signal.aborted ? undefined : logits;
  }

  /** Reads several tokens into a cache of one slot; gives the scores of the last. */
  async #read(cache: KeyValueCache, tokens: number[], options?: RunOptions): Promise<Float32Array> {
    const { heads, kvHeads } = this.#checkpoint.config;
    const start = cache.lengths[0]!;
    const shape = [1, tokens.length];
    const feeds = {
      ...this.#lora,
      ...cache.feeds(),
      tokens: int64(shape, tokens),
      positions: int64(
        shape,
        tokens.map((_, i) => start + i),
      ),
      mask: causalMask(tokens.length, heads / kvHeads),
      last: int64([1, 1, 1], [tokens.length - 1]),
    };
    const made = await this.#session.run(feeds, options);
    cache.append(made, tokens.length);
    return made['logits']!.data as Float32Array;
  }

  /** One token of every stream, and what follows the only one; gives the scores after each. */
  async #step(
    cache: KeyValueCache,
    tokens: readonly number[],
    following: readonly number[],
  ): Promise<Float32Array[][]> {
    const { heads, kvHeads, vocab } = this.#checkpoint.config;
    const rows = tokens.length;
    const width = 1 + following.length;
    const places = Array.from({ length: width }, (_, i) => i);
    const made = await this.#session.run({
      ...this.#lora,
      ...cache.feeds(),
      tokens: int64([rows, width], [...tokens, ...following]),
      positions: int64(
        [rows, width],
        cache.lengths.flatMap((length) => places.map((i) => length + i)),
      ),
      mask: causalMask(width, heads / kvHeads),
      last: int64(
        [rows, width, 1],
        tokens.flatMap(() => places),
      ),
    });
    cache.append(made, width);
    const logits = made['logits']!.data as Float32Array;
    return tokens.map((_, row) =>
      places.map((i) => logits.subarray((row * width + i) * vocab, (row * width + i + 1) * vocab)),
    );
  }

  #nothing = (): { tokens: number[]; cache: KeyValueCache } => ({
    tokens: [],
    cache: this.#emptyCache(),
  });

  #emptyCache(): KeyValueCache {
    const cache = new KeyValueCache(this.#checkpoint.config, this.#memory);
    cache.add();
    return cache;
  }

  #spread(prefix: KeyValueCache, slots: number): KeyValueCache {
    const cache = new KeyValueCache(this.#checkpoint.config, this.#memory);
    for (let slot = 0; slot < slots; slot++) cache.add(prefix);
    return cache;
  }
}

/** Takes the last `count` tokens out of what has been read. */
function forget(kept: { tokens: number[]; cache: KeyValueCache }, count: number): void {
  kept.tokens.length -= count;
  kept.cache.crop(kept.tokens.length);
}
