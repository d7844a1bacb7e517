// Our own model on any runtime as an engine of the bench, in the page and in Node.
import {
  adapterFeeds,
  causalMask,
  chatGraph,
  float32,
  int64,
  KeyValueCache,
  linearSites,
  Random,
  type Adapter,
  type Checkpoint,
  type Runtime,
  type Session,
  type Tensor,
} from '@rapport/core';
import { logSoftmax, type Engine, type Piece } from './page/engine.ts';

const READ_AT_ONCE = 128;
const ADAPTER = { rank: 8, alpha: 16 };

export interface Started {
  checkpoint: Checkpoint;
  runtime: Runtime;
}

export class OwnEngine implements Engine {
  readonly #start: (kept: boolean) => Promise<Started>;
  #checkpoint!: Checkpoint;
  #runtime!: Runtime;
  #session!: Session;
  #cache: KeyValueCache | undefined;
  #lora: Record<string, Tensor> = {};
  #next = 1000;

  constructor(start: (kept: boolean) => Promise<Started>) {
    this.#start = start;
  }

  async open(kept: boolean): Promise<void> {
    const { checkpoint, runtime } = await this.#start(kept);
    const { config } = checkpoint;
    this.#checkpoint = checkpoint;
    this.#runtime = runtime;
    this.#session = await runtime.load(
      chatGraph(config, linearSites(config, 0, config.layers)),
      async (name) => float32(checkpoint.tensors.get(name)!.shape, await checkpoint.read(name)),
    );
    this.adapt(false);
    this.fresh();
    await this.read({ ids: [1] });
  }

  sizeBytes(): number | undefined {
    return (this.#runtime as { sizeBytes?: number }).sizeBytes;
  }

  fresh(): void {
    this.#cache?.dispose();
    this.#cache = this.#newCache();
    this.#cache.add();
  }

  adapt(on: boolean): void {
    const { config } = this.#checkpoint;
    const sites = linearSites(config, 0, config.layers);
    const random = new Random(1);
    const some = (count: number) =>
      Float32Array.from({ length: count }, () => (random.uniform() - 0.5) * 0.02);
    const adapter: Adapter = {
      ...ADAPTER,
      targets: new Map(
        sites.map(({ path, inputs, outputs }) => [
          path,
          { a: some(inputs * ADAPTER.rank), b: some(outputs * ADAPTER.rank) },
        ]),
      ),
    };
    this.#lora = adapterFeeds(sites, on ? adapter : null);
  }

  async read({ ids }: Pick<Piece, 'ids'>): Promise<void> {
    for (let at = 0; at < ids.length; at += READ_AT_ONCE) {
      await this.#step(this.#cache!, [ids.slice(at, at + READ_AT_ONCE)]);
    }
  }

  async speak(count: number): Promise<number[]> {
    const ms: number[] = [];
    for (let i = 0; i < count; i++) {
      const fromMs = performance.now();
      await this.#say(this.#cache!);
      ms.push(performance.now() - fromMs);
    }
    return ms;
  }

  async replies(prompt: Piece, count: number, replies: number): Promise<number> {
    await this.read(prompt);
    const fromMs = performance.now();
    const cache = this.#newCache();
    for (let i = 0; i < replies; i++) cache.add(this.#cache);
    for (let i = 0; i < count; i++) await this.#say(cache);
    cache.dispose();
    return performance.now() - fromMs;
  }

  async scores({ ids }: Piece): Promise<Float32Array> {
    const { vocab } = this.#checkpoint.config;
    const all = new Float32Array(ids.length * vocab);
    for (const [t, token] of ids.entries()) {
      all.set(logSoftmax(await this.#step(this.#cache!, [[token]])), t * vocab);
    }
    return all;
  }

  /** One token more of every slot: the likeliest. */
  async #say(cache: KeyValueCache): Promise<void> {
    const logits = await this.#step(
      cache,
      cache.lengths.map(() => [this.#next]),
    );
    const first = logits.subarray(0, this.#checkpoint.config.vocab);
    let best = 0;
    for (let id = 1; id < first.length; id++) if (first[id]! > first[best]!) best = id;
    this.#next = best;
  }

  #newCache(): KeyValueCache {
    return new KeyValueCache(this.#checkpoint.config, this.#runtime.memory);
  }

  /** Reads as many tokens into every slot; gives the scores [slots, V] of the last. */
  async #step(cache: KeyValueCache, rows: readonly (readonly number[])[]): Promise<Float32Array> {
    const { heads, kvHeads } = this.#checkpoint.config;
    const width = rows[0]!.length;
    const shape = [rows.length, width];
    const positions = rows.flatMap((row, slot) => row.map((_, t) => cache.lengths[slot]! + t));
    const made = await this.#session.run({
      ...this.#lora,
      ...cache.feeds(),
      tokens: int64(shape, rows.flat()),
      positions: int64(shape, positions),
      mask: causalMask(width, heads / kvHeads),
      last: int64(
        [rows.length, 1, 1],
        rows.map(() => width - 1),
      ),
    });
    cache.append(made, width);
    return made['logits']!.data as Float32Array;
  }
}
