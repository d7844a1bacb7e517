// Many replies at once: continuous batches over one decode graph. Each prompt is read once and shared by its
// replies; a stream that ends makes room for the next. It samples from π at a temperature, nothing truncated.
import { Graph, float32, int64, op } from '@rapport/core';
import type { Checkpoint, Tensor, Value } from '@rapport/core';
import { Random } from '../optim/random.ts';
import type { Runtime, Session } from '../platform.ts';
import { adapterFeeds } from '../train/adapter.ts';
import type { Adapter } from '../train/adapter.ts';
import { LlamaGraph, linearSites } from '../train/llama.ts';
import type { LinearSite } from '../train/llama.ts';
import { causalMask } from '../train/rows.ts';

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
  /** Tokens whose keys and values lie in the cache. */
  length: number;
}

/** One read prompt: keys and values [kvHeads, T, headDim] per layer, and what comes next. */
interface Prefix {
  readonly length: number;
  readonly cache: readonly Float32Array[];
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
    const graph = speakGraph(checkpoint, sites);
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
    const cache = new Cache(this.#checkpoint, this.#slots);
    const results = prompts.map(() => new Array<SampledReply>(replies));
    const waiting = prompts.flatMap((_, prompt) =>
      Array.from({ length: replies }, (_, reply) => ({ prompt, reply })),
    );
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
        const stream: Stream = { ...next, random, tokens: [], length: prefix.read.length };
        if (take(stream, prefix.read.probabilities)) continue;
        cache.admit(streams.length, prefix.read);
        streams.push(stream);
      }
      if (streams.length === 0) break;
      const probabilities = await this.#step(streams, cache, options, lora);
      for (let s = streams.length - 1; s >= 0; s--) {
        const { vocab } = this.#checkpoint.config;
        if (!take(streams[s]!, probabilities.subarray(s * vocab, (s + 1) * vocab))) continue;
        // The last stream moves into the freed slot.
        const last = streams.pop()!;
        if (s < streams.length) {
          streams[s] = last;
          cache.move(streams.length, s, last.length);
        }
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
    { temperature }: Pick<RolloutOptions, 'temperature'>,
    lora: Record<string, Tensor>,
  ): Promise<Prefix> {
    const { config } = this.#checkpoint;
    const { kvHeads, headDim, layers } = config;
    const empty = float32([1, kvHeads, 0, headDim], new Float32Array(0));
    const feeds: Record<string, Tensor> = {
      ...lora,
      tokens: int64([1, prompt.length], prompt as number[]),
      positions: int64(
        [1, prompt.length],
        prompt.map((_, i) => i),
      ),
      mask: causalMask(prompt.length, config.heads / kvHeads),
      pastMask: float32([1, 1, 1, 0], new Float32Array(0)),
      last: int64([1, 1, 1], [prompt.length - 1]),
      inverseTemperature: float32([], [1 / (temperature || 1)]),
    };
    for (let i = 0; i < layers; i++) feeds[`past.k.${i}`] = feeds[`past.v.${i}`] = empty;
    const out = await this.#session.run(feeds);
    const made = (side: string) => (_: unknown, i: number) =>
      out[`new.${side}.${i}`]!.data as Float32Array;
    return {
      length: prompt.length,
      cache: [
        ...Array.from({ length: layers }, made('k')),
        ...Array.from({ length: layers }, made('v')),
      ],
      probabilities: (out['probabilities']!.data as Float32Array).slice(),
    };
  }

  /** One token of every stream. */
  async #step(
    streams: readonly Stream[],
    cache: Cache,
    { temperature }: RolloutOptions,
    lora: Record<string, Tensor>,
  ): Promise<Float32Array> {
    const { config } = this.#checkpoint;
    const rows = streams.length;
    const capacity = cache.fit(Math.max(...streams.map((s) => s.length)) + 1);
    const pastMask = new Float32Array(rows * capacity).fill(-1e9);
    streams.forEach((s, b) => pastMask.fill(0, b * capacity, b * capacity + s.length));
    const feeds: Record<string, Tensor> = {
      ...lora,
      ...cache.feeds(rows),
      tokens: int64(
        [rows, 1],
        streams.map((s) => s.tokens.at(-1)!),
      ),
      positions: int64(
        [rows, 1],
        streams.map((s) => s.length),
      ),
      mask: float32(
        [1, 1, config.heads / config.kvHeads, 1],
        new Float32Array(config.heads / config.kvHeads),
      ),
      pastMask: float32([rows, 1, 1, capacity], pastMask),
      last: int64([rows, 1, 1], new Array<number>(rows).fill(0)),
      inverseTemperature: float32([], [1 / (temperature || 1)]),
    };
    const out = await this.#session.run(feeds);
    cache.append(
      streams.map((s) => s.length),
      out,
    );
    for (const s of streams) s.length++;
    return out['probabilities']!.data as Float32Array;
  }
}

/** Keys and values of all layers and slots: per layer and side [slots, kvHeads, capacity, headDim]. */
class Cache {
  #capacity = 0;
  #buffers: Float32Array[] = [];
  readonly #slots: number;
  readonly #kvHeads: number;
  readonly #headDim: number;
  readonly #layers: number;

  constructor({ config }: Checkpoint, slots: number) {
    this.#slots = slots;
    this.#kvHeads = config.kvHeads;
    this.#headDim = config.headDim;
    this.#layers = config.layers;
    this.fit(64);
  }

  /** Grows so that every slot holds `length` tokens; returns the capacity. */
  fit(length: number): number {
    if (length <= this.#capacity) return this.#capacity;
    const [from, to] = [this.#capacity, Math.ceil(length / 64) * 64];
    const heads = this.#slots * this.#kvHeads;
    const d = this.#headDim;
    this.#buffers = Array.from({ length: 2 * this.#layers }, (_, i) => {
      const grown = new Float32Array(heads * to * d);
      const old = this.#buffers[i];
      if (old) {
        for (let h = 0; h < heads; h++)
          grown.set(old.subarray(h * from * d, (h + 1) * from * d), h * to * d);
      }
      return grown;
    });
    this.#capacity = to;
    return to;
  }

  /** Puts a read prompt into a slot. */
  admit(slot: number, { cache, length }: Prefix): void {
    this.fit(length + 1);
    const d = this.#headDim;
    this.#buffers.forEach((buffer, i) => {
      for (let h = 0; h < this.#kvHeads; h++) {
        const part = cache[i]!.subarray(h * length * d, (h + 1) * length * d);
        buffer.set(part, (slot * this.#kvHeads + h) * this.#capacity * d);
      }
    });
  }

  move(from: number, to: number, length: number): void {
    const size = this.#capacity * this.#headDim;
    for (const buffer of this.#buffers) {
      for (let h = 0; h < this.#kvHeads; h++) {
        const start = (from * this.#kvHeads + h) * size;
        buffer.copyWithin((to * this.#kvHeads + h) * size, start, start + length * this.#headDim);
      }
    }
  }

  /** Adds the new rows of every stream behind its `lengths[b]` tokens. */
  append(lengths: readonly number[], out: Record<string, Tensor>): void {
    const d = this.#headDim;
    this.#buffers.forEach((buffer, i) => {
      const name = i < this.#layers ? `new.k.${i}` : `new.v.${i - this.#layers}`;
      const rows = out[name]!.data as Float32Array;
      lengths.forEach((length, b) => {
        for (let h = 0; h < this.#kvHeads; h++) {
          const row = b * this.#kvHeads + h;
          buffer.set(rows.subarray(row * d, (row + 1) * d), (row * this.#capacity + length) * d);
        }
      });
    });
  }

  feeds(rows: number): Record<string, Tensor> {
    const shape = [rows, this.#kvHeads, this.#capacity, this.#headDim];
    const size = shape.reduce((a, b) => a * b);
    return Object.fromEntries(
      this.#buffers.map((buffer, i) => [
        i < this.#layers ? `past.k.${i}` : `past.v.${i - this.#layers}`,
        float32(shape, buffer.subarray(0, size)),
      ]),
    );
  }
}

/** tokens [B, T] with past → probabilities [B, V] after the last token, new keys and values. */
function speakGraph({ config }: Checkpoint, sites: readonly LinearSite[]): Graph {
  const graph = new Graph();
  const tokens = graph.input('tokens', 'int64', ['B', 'T']);
  const llama = new LlamaGraph(graph, config, new Set(sites.map((s) => s.path)));
  const last = graph.input('last', 'int64', ['B', 1, 1]);
  const inverseTemperature = graph.input('inverseTemperature', 'float32', []);
  const pastMask = graph.input('pastMask', 'float32', ['B', 1, 1, 'P']);
  const shape = ['B', config.kvHeads, 'P', config.headDim];
  const past = (side: string) =>
    Array.from({ length: config.layers }, (_, i) =>
      graph.input(`past.${side}.${i}`, 'float32', shape),
    );
  const [keys, values] = [past('k'), past('v')];
  const upper = llama.layers(
    llama.embed(tokens),
    0,
    config.layers,
    { key: (i) => keys[i]!, value: (i) => values[i]!, mask: pastMask },
    (i, key: Value, value: Value) => {
      graph.output(`new.k.${i}`, key);
      graph.output(`new.v.${i}`, value);
    },
  );
  const hidden = llama.finalNorm(op.squeeze(op.gatherND(upper, last, 1), [1]));
  const logits = op.matmulTransposed(op.mul(hidden, inverseTemperature), llama.head());
  graph.output('probabilities', op.softmax(logits));
  return graph;
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
