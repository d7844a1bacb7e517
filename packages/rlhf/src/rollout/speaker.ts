// Many replies at once: continuous batches over one decode graph. Each prompt is read once and shared by its
// replies; a stream that ends makes room for the next. It samples from π at a temperature, nothing truncated.
import {
  adapterFeeds,
  causalMask,
  chatGraph,
  float32,
  int64,
  KeyValueCache,
  linearSites,
  Random,
} from '@rapport/core';
import type { Adapter, Checkpoint, LinearSite, Runtime, Session, Tensor } from '@rapport/core';

export interface RolloutOptions {
  /** 0 takes the likeliest token. */
  readonly temperature: number;
  readonly maxTokens: number;
  /** Replies per prompt. */
  readonly replies: number;
  readonly seed: number;
  readonly adapter: Adapter | null;
  readonly signal?: AbortSignal;
}

export interface SampledReply {
  readonly prompt: readonly number[];
  /** With the end-of-turn token when `ended`. */
  readonly tokens: readonly number[];
  readonly ended: boolean;
}

/** A stream in a slot of the cache. */
interface Stream {
  readonly prompt: number;
  readonly reply: number;
  readonly random: Random;
  readonly tokens: number[];
}

/** One read prompt, and what comes next. */
interface Prefix {
  readonly cache: KeyValueCache;
  readonly probabilities: Float32Array;
}

export class Speaker {
  readonly #checkpoint: Checkpoint;
  readonly #session: Session;
  readonly #sites: readonly LinearSite[];
  readonly #endOfTurn: number;
  readonly #slots: number;

  private constructor(
    checkpoint: Checkpoint,
    session: Session,
    sites: readonly LinearSite[],
    endOfTurn: number,
    slots: number,
  ) {
    this.#checkpoint = checkpoint;
    this.#session = session;
    this.#sites = sites;
    this.#endOfTurn = endOfTurn;
    this.#slots = slots;
  }

  /** `fromLayer`: adapters may sit on this layer and above. `slots`: replies decoded side by side. */
  static async create(
    checkpoint: Checkpoint,
    runtime: Runtime,
    { endOfTurn, fromLayer, slots = 24 }: { endOfTurn: number; fromLayer: number; slots?: number },
  ): Promise<Speaker> {
    const sites = linearSites(checkpoint.config, fromLayer, checkpoint.config.layers);
    const graph = chatGraph(checkpoint.config, sites, { probabilities: true });
    const session = await runtime.load(graph, async (name) =>
      float32(checkpoint.tensors.get(name)!.shape, await checkpoint.read(name)),
    );
    return new Speaker(checkpoint, session, sites, endOfTurn, slots);
  }

  /** Replies per prompt, in the order of the prompts. Yields the number of finished replies as they come. */
  async *sample(
    prompts: readonly (readonly number[])[],
    options: RolloutOptions,
  ): AsyncGenerator<{ done: number; of: number; tokens: number }, SampledReply[][]> {
    const { replies, maxTokens, seed } = options;
    const lora = adapterFeeds(this.#sites, options.adapter);
    const cache = new KeyValueCache(this.#checkpoint.config);
    const results = prompts.map(() => new Array<SampledReply>(replies));
    // Short prompts first: attention is as wide as the longest stream was until then.
    const waiting = prompts
      .map((_, prompt) => prompt)
      .sort((a, b) => prompts[a]!.length - prompts[b]!.length)
      .flatMap((prompt) => Array.from({ length: replies }, (_, reply) => ({ prompt, reply })));
    cache.reserveSlots(Math.min(this.#slots, waiting.length));
    const streams: Stream[] = [];
    let prefix: { prompt: number; read: Prefix } | undefined;
    const of = waiting.length;
    let [done, tokens] = [0, 0];
    const take = (stream: Stream, row: Float32Array): boolean => {
      const id = pick(row, options.temperature === 0 ? undefined : stream.random);
      stream.tokens.push(id);
      tokens++;
      const ended = id === this.#endOfTurn;
      if (!ended && stream.tokens.length < maxTokens) return false;
      const prompt = prompts[stream.prompt]!;
      results[stream.prompt]![stream.reply] = { prompt, tokens: stream.tokens, ended };
      done++;
      return true;
    };
    while (waiting.length > 0 || streams.length > 0) {
      options.signal?.throwIfAborted();
      while (streams.length < this.#slots && waiting.length > 0) {
        const next = waiting.shift()!;
        if (prefix?.prompt !== next.prompt) {
          const read = await this.#prefill(prompts[next.prompt]!, options, lora);
          prefix = { prompt: next.prompt, read };
        }
        const random = new Random(seed * 7919 + next.prompt * 131 + next.reply);
        const stream: Stream = { ...next, random, tokens: [] };
        if (take(stream, prefix.read.probabilities)) continue;
        cache.add(prefix.read.cache);
        streams.push(stream);
      }
      if (streams.length === 0) break;
      const probabilities = await this.#step(streams, cache, options, lora);
      for (let s = streams.length - 1; s >= 0; s--) {
        const { vocab } = this.#checkpoint.config;
        if (!take(streams[s]!, probabilities.subarray(s * vocab, (s + 1) * vocab))) continue;
        // The last stream moves into the freed slot.
        const last = streams.pop()!;
        if (s < streams.length) streams[s] = last;
        cache.remove(s);
      }
      yield { done, of, tokens };
    }
    return results;
  }

  /** Probabilities [V] of the token after a prompt, at temperature 1. */
  async next(prompt: readonly number[], adapter: Adapter | null): Promise<Float32Array> {
    const lora = adapterFeeds(this.#sites, adapter);
    return (await this.#prefill(prompt, { temperature: 1 }, lora)).probabilities;
  }

  dispose(): Promise<void> {
    return this.#session.dispose();
  }

  async #prefill(
    prompt: readonly number[],
    options: Pick<RolloutOptions, 'temperature'>,
    lora: Record<string, Tensor>,
  ): Promise<Prefix> {
    const cache = new KeyValueCache(this.#checkpoint.config);
    cache.add();
    return { cache, probabilities: (await this.#read([prompt], cache, options, lora)).slice() };
  }

  /** One token of every stream. */
  #step(
    streams: readonly Stream[],
    cache: KeyValueCache,
    options: RolloutOptions,
    lora: Record<string, Tensor>,
  ): Promise<Float32Array> {
    const spoken = streams.map(({ tokens }) => tokens.slice(-1));
    return this.#read(spoken, cache, options, lora);
  }

  /** Reads as many tokens into every slot; gives the probabilities [B, V] after the last ones. */
  async #read(
    rows: readonly (readonly number[])[],
    cache: KeyValueCache,
    { temperature }: Pick<RolloutOptions, 'temperature'>,
    lora: Record<string, Tensor>,
  ): Promise<Float32Array> {
    const { heads, kvHeads } = this.#checkpoint.config;
    const width = rows[0]!.length;
    const shape = [rows.length, width];
    const out = await this.#session.run({
      ...lora,
      ...cache.feeds(),
      tokens: int64(shape, rows.flat()),
      positions: int64(
        shape,
        rows.flatMap((row, b) => row.map((_, t) => cache.lengths[b]! + t)),
      ),
      mask: causalMask(width, heads / kvHeads),
      last: int64([rows.length, 1, 1], new Array<number>(rows.length).fill(width - 1)),
      inverseTemperature: float32([], [1 / (temperature || 1)]),
    });
    cache.append(out, width);
    return out['probabilities']!.data as Float32Array;
  }
}

/** An index drawn from probabilities; the likeliest without a generator. */
function pick(probabilities: Float32Array, random: Random | undefined): number {
  if (!random)
    return probabilities.reduce((best, p, i) => (p > probabilities[best]! ? i : best), 0);
  let left = random.uniform();
  for (let i = 0; i < probabilities.length; i++) {
    left -= probabilities[i]!;
    if (left < 0) return i;
  }
  return probabilities.length - 1;
}
