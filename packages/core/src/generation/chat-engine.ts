// Speaks with an open checkpoint: reads a conversation once, keeps what it read, streams one reply or
// several side by side, and stops within a token. It knows no page, no storage, no ONNX Runtime.
import { assert } from '../error.ts';
import { float32, giveUp, int64, type Tensor, type TensorData } from '../graph/tensor.ts';
import { adapterFeeds, checkAdapter, type Adapter } from '../models/adapter.ts';
import { chatGraph } from '../models/chat-graph.ts';
import { causalMask } from '../models/model-graph.ts';
import { linearSites, type LinearSite } from '../models/sites.ts';
import type { RunOptions, Runtime, Session } from '../runtime/runtime.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { Weights } from '../weights/checkpoint.ts';
import type { ModelConfig } from '../weights/model-config.ts';
import { fitContext, type Prompt } from './fit-context.ts';
import { tokensWithin, type KeyValueCache } from './key-value-cache.ts';
import { PrefixCache } from './prefix-cache.ts';
import { PromptLookup } from './prompt-lookup.ts';
import { Stream } from './stream.ts';
import type { SpeakRequest, SpokenReply, SpokenToken } from './speech.ts';

const READ_AT_ONCE = 128;
/** What is kept of keys and values, by what they are kept as: 2,604 tokens of SmolLM2-135M. */
export const CACHE_BYTES = { float32: 120e6, float16: 60e6 } as const;
/** A message, what it is about and a reply have this much room, whatever memory there is. */
const LEAST_CONTEXT = 1024;

interface Parts {
  checkpoint: Weights;
  tokenizer: Tokenizer;
  runtime: Runtime;
  /** Tokens read at once: few enough to stop soon, enough to be fast. */
  readAtOnce?: number;
  /** Bytes of keys and values that are kept of what was read. */
  cacheBytes?: number;
  /** Bytes of keys and values of one sequence. Turns that would need more are left out, the oldest first. */
  sequenceBytes?: number;
  /** Guesses what a reply says next; replies are the same with any guesses, and with none. By default prompt lookup. */
  lookup?: Pick<PromptLookup, 'begin' | 'propose' | 'observe'> | null | undefined;
}

/** One of the replies that are being spoken, in the order of their slots. */
interface Speaking {
  readonly stream: Stream;
  /** Which of the replies that were asked for. */
  readonly index: number;
  /** What has been read after the prompt. */
  readonly read: number[];
  /** What comes after each token that was read last: the one drawn before, and guesses that follow it. */
  scores: Float32Array[];
}

export class ChatEngine {
  /** Tokens of prompt and reply together: of the model's context, as many as there is memory for. */
  readonly contextLength: number;
  readonly #config: ModelConfig;
  readonly #tokenizer: Tokenizer;
  readonly #session: Session;
  readonly #sites: readonly LinearSite[];
  readonly #readAtOnce: number;
  readonly #lookup: Parts['lookup'];
  readonly #newCache: () => PrefixCache;
  #lora: Record<string, Tensor>;
  /** What has been read with this adapter. */
  #kept: PrefixCache;
  #speaking = false;

  private constructor(parts: Parts, session: Session, sites: LinearSite[]) {
    const { checkpoint, tokenizer, runtime } = parts;
    const { readAtOnce = READ_AT_ONCE, lookup = new PromptLookup() } = parts;
    const dtype = runtime.memory?.dtype ?? 'float32';
    const { cacheBytes: budgetBytes = CACHE_BYTES[dtype], sequenceBytes = Infinity } = parts;
    const bearable = Math.max(LEAST_CONTEXT, tokensWithin(sequenceBytes, checkpoint.config, dtype));
    this.contextLength = Math.min(checkpoint.config.context, bearable);
    this.#config = checkpoint.config;
    this.#tokenizer = tokenizer;
    this.#session = session;
    this.#sites = sites;
    this.#readAtOnce = readAtOnce;
    this.#lookup = lookup;
    this.#lora = adapterFeeds(sites, null);
    this.#newCache = () => new PrefixCache(this.#config, { budgetBytes, memory: runtime.memory });
    this.#kept = this.#newCache();
  }

  static async create(parts: Parts): Promise<ChatEngine> {
    const { checkpoint, runtime } = parts;
    const { config } = checkpoint;
    const sites = linearSites(config, 0, config.layers);
    const session = await runtime.load(chatGraph(config, sites, { shared: true }), async (name) =>
      float32(checkpoint.tensors.get(name)!.shape, await checkpoint.read(name)),
    );
    return new ChatEngine(parts, session, sites);
  }

  /** Speaks with this adapter from the next reply on; null is the bare base. Throws `adapter/unfit`. */
  setAdapter(adapter: Adapter | null): void {
    if (adapter) checkAdapter(this.#sites, adapter);
    this.#lora = adapterFeeds(this.#sites, adapter);
    // A reply that is being spoken still reads its cache, and disposes of it at its end.
    if (!this.#speaking) this.#kept.dispose();
    this.#kept = this.#newCache();
  }

  /** Log-probabilities [V] of the token after `prompt`, as exact as the runtime can; not while a reply is spoken. */
  async next(prompt: readonly number[]): Promise<Float32Array> {
    this.#begin();
    // In fp32, whatever the runtime keeps keys and values as.
    const cache = new PrefixCache(this.#config, { budgetBytes: 0 });
    const read = this.#read(cache, { ...this.#lora }, prompt, { exact: true });
    const logits = await read.finally(() => {
      this.#speaking = false;
      cache.dispose();
    });
    const best = logits.reduce((a, b) => Math.max(a, b));
    const sum = logits.reduce((a, b) => a + Math.exp(b - best), 0);
    return logits.map((x) => x - best - Math.log(sum));
  }

  /**
   * What is read for `messages`: all of them, or the newest turns where the context is too short. A reply that goes
   * on is read after the turns it began with, as long as there is room for more after it.
   */
  prompt({ messages, samplings, prefix = [] }: SpeakRequest): Prompt {
    const { contextLength: context } = this;
    const said = prefix.length;
    const most = Math.max(...samplings.map(({ maxTokens }) => maxTokens));
    const fit = (room: number, replyTokens: number) =>
      fitContext(this.#tokenizer, messages, { context: room, replyTokens });
    const begun = fit(context, said + most);
    return begun.tokens.length + said < context ? begun : fit(context - said, most);
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
    const room = this.contextLength - chat.length - prefix.length;
    this.#begin();
    const kept = this.#kept;
    // What is fed run after run: most of it, an adapter above all, stays as it is.
    const feeds = { ...this.#lora };
    // Alternates go on from the prompt in `kept`, each in its slot; a single reply is read into `kept` itself.
    let slots: KeyValueCache | undefined;
    const speaking: Speaking[] = [];
    try {
      const logits = await this.#readPrompt(kept, feeds, [...chat, ...prefix], signal);
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
      // A reply that is to go on may have ended already.
      if (!logits || streams.every(({ finish }) => finish)) return replies();
      const waiting: Speaking[] = streams.map((stream, index) => {
        return { stream, index, read: [], scores: [logits] };
      });
      if (streams.length > 1) slots = kept.spread();
      const abreast = slots ? kept.slotsFor(Math.max(...streams.map(({ left }) => left))) : 1;
      let guesses: number[] = [];
      let stepMs = 0;
      /** The scores of the last step. */
      let drawnFrom: TensorData | undefined;
      this.#lookup?.begin();
      while (!signal.aborted) {
        while (waiting.length > 0 && speaking.length < abreast) {
          speaking.push(waiting.shift()!);
          slots?.add();
        }
        for (const { stream, index, scores } of speaking) {
          if (signal.aborted) break;
          if (stream.finish) continue;
          let right = 0;
          for (const after of scores.splice(0)) {
            for (const token of stream.take(after)) yield { index, ...token };
            if (stream.finish || signal.aborted || stream.last !== guesses[right]) break;
            right++;
          }
          if (slots) continue;
          if (stepMs > 0) this.#lookup?.observe(guesses.length, right, stepMs);
          kept.crop(kept.tokens.length - (guesses.length - right));
        }
        if (signal.aborted) break;
        if (slots) leave(speaking, slots, kept);
        if (waiting.length > 0 && speaking.length < abreast) continue;
        if (speaking.every(({ stream }) => stream.finish)) break;
        const tokens = speaking.map(({ stream }) => stream.last);
        if (!slots) {
          const context = [...kept.tokens, tokens[0]!];
          guesses = this.#lookup?.propose(context, streams[0]!.left - 1) ?? [];
        }
        // All have drawn from it.
        if (drawnFrom) giveUp(drawnFrom);
        const readMs = performance.now();
        const made = await this.#step(kept, slots, feeds, tokens, guesses);
        drawnFrom = made['logits']!.data;
        if (slots) kept.appendTo(slots, made);
        else kept.append([tokens[0]!, ...guesses], made);
        const scores = this.#scores(made, speaking.length);
        stepMs = performance.now() - readMs;
        for (const [slot, one] of speaking.entries()) {
          one.read.push(tokens[slot]!);
          one.scores = scores[slot]!;
        }
      }
      return replies();
    } finally {
      this.#speaking = false;
      try {
        if (slots) {
          for (const [slot, { read }] of speaking.entries()) kept.keep(read, slots, slot);
        }
      } finally {
        slots?.dispose();
        if (kept !== this.#kept) kept.dispose();
      }
    }
  }

  /** What a run yields is read before the next run. */
  #begin(): void {
    assert(!this.#speaking, 'an engine speaks one reply, or one set of alternates, at a time');
    this.#speaking = true;
  }

  /** Reads what of `tokens` is new; gives the scores of the last, or nothing when stopped. */
  async #readPrompt(
    kept: PrefixCache,
    feeds: Record<string, Tensor>,
    tokens: readonly number[],
    signal: AbortSignal,
  ): Promise<Float32Array | undefined> {
    // The last token is always read anew: its scores are needed.
    kept.select(tokens.slice(0, -1));
    let logits: Float32Array | undefined;
    while (kept.tokens.length < tokens.length && !signal.aborted) {
      const at = kept.tokens.length;
      logits = await this.#read(kept, feeds, tokens.slice(at, at + this.#readAtOnce));
    }
    return signal.aborted ? undefined : logits;
  }

  /** Reads several tokens; gives the scores of the last. */
  async #read(
    kept: PrefixCache,
    feeds: Record<string, Tensor>,
    tokens: readonly number[],
    options?: RunOptions,
  ): Promise<Float32Array> {
    const { heads, kvHeads } = this.#config;
    const start = kept.tokens.length;
    const shape = [1, tokens.length];
    Object.assign(feeds, kept.feeds(), {
      tokens: int64(shape, tokens),
      positions: int64(
        shape,
        tokens.map((_, i) => start + i),
      ),
      mask: causalMask(tokens.length, heads / kvHeads),
      last: int64([1, 1, 1], [tokens.length - 1]),
    });
    const made = await this.#session.run(feeds, { ...options, lend: true });
    kept.append(tokens, made);
    // Replies that wait for room draw from it after other runs.
    return (made['logits']!.data as Float32Array).slice();
  }

  /** Reads one token of every stream, and what follows the only one. */
  #step(
    kept: PrefixCache,
    slots: KeyValueCache | undefined,
    feeds: Record<string, Tensor>,
    tokens: readonly number[],
    following: readonly number[],
  ): Promise<Record<string, Tensor>> {
    const { heads, kvHeads } = this.#config;
    const rows = tokens.length;
    const width = 1 + following.length;
    const places = Array.from({ length: width }, (_, i) => i);
    const read = slots?.lengths ?? [0];
    Object.assign(feeds, kept.feeds(slots), {
      tokens: int64([rows, width], [...tokens, ...following]),
      positions: int64(
        [rows, width],
        read.flatMap((length) => places.map((i) => kept.tokens.length + length + i)),
      ),
      mask: causalMask(width, heads / kvHeads),
      last: int64(
        [rows, width, 1],
        tokens.flatMap(() => places),
      ),
    });
    return this.#session.run(feeds, { lend: true });
  }

  /** The scores after each token of a step. */
  #scores(made: Record<string, Tensor>, rows: number): Float32Array[][] {
    const { vocab } = this.#config;
    const logits = made['logits']!.data as Float32Array;
    const width = logits.length / vocab / rows;
    return Array.from({ length: rows }, (_, row) =>
      Array.from({ length: width }, (_, i) => {
        const at = (row * width + i) * vocab;
        return logits.subarray(at, at + vocab);
      }),
    );
  }
}

/** Replies that have ended leave their slots, so that the others do not wait for them; what they read is kept. */
function leave(speaking: Speaking[], slots: KeyValueCache, kept: PrefixCache): void {
  for (let slot = speaking.length - 1; slot >= 0; slot--) {
    const { stream, read } = speaking[slot]!;
    if (!stream.finish) continue;
    kept.keep(read, slots, slot);
    slots.remove(slot);
    const last = speaking.pop()!;
    if (slot < speaking.length) speaking[slot] = last;
  }
}
