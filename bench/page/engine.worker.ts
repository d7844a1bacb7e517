// One engine with the real model: opens it, reads, speaks, and says how long each took.
import {
  adapterFeeds,
  blobSource,
  causalMask,
  chatGraph,
  float32,
  int64,
  KeyValueCache,
  linearSites,
  openGguf,
  type Checkpoint,
  type Runtime,
  type Session,
} from '@rapport/core';
import { startBackend } from '../../apps/web/src/workers/backend.ts';

export interface Ask {
  kind: 'open' | 'read' | 'fill' | 'speak' | 'scores';
  tokens?: number;
}

export interface Told {
  ms: number[];
  bytes?: number;
  /** Log-probs after each token. */
  scores?: Float32Array[];
  error?: string;
}

const READ_AT_ONCE = 128;
/** Ids all over the vocabulary: how long a token takes does not depend on which it is. */
const someTokens = (count: number) =>
  Array.from({ length: count }, (_, i) => 1000 + ((i * 7919) % 20_000));

let checkpoint: Checkpoint;
let runtime: Runtime;
let session: Session;
let cache: KeyValueCache;

async function open(engine: 'simd' | 'wasm'): Promise<Told> {
  const file = await (await fetch('/model.gguf')).blob();
  const fromMs = performance.now();
  checkpoint = await openGguf(blobSource(file));
  runtime = (await startBackend(engine, checkpoint)).runtime;
  const { config } = checkpoint;
  session = await runtime.load(
    chatGraph(config, linearSites(config, 0, config.layers)),
    async (name) => float32(checkpoint.tensors.get(name)!.shape, await checkpoint.read(name)),
  );
  fresh();
  await read([1]);
  const ms = [performance.now() - fromMs];
  const bytes = (runtime as { sizeBytes?: number }).sizeBytes;
  return bytes === undefined ? { ms } : { ms, bytes };
}

function fresh(): void {
  cache?.dispose();
  cache = new KeyValueCache(checkpoint.config, runtime.memory);
  cache.add();
}

async function read(tokens: readonly number[]): Promise<Float32Array> {
  const { config } = checkpoint;
  const from = cache.lengths[0]!;
  const made = await session.run({
    ...adapterFeeds(linearSites(config, 0, config.layers), null),
    ...cache.feeds(),
    tokens: int64([1, tokens.length], tokens),
    positions: int64(
      [1, tokens.length],
      tokens.map((_, i) => from + i),
    ),
    mask: causalMask(tokens.length, config.heads / config.kvHeads),
    last: int64([1, 1, 1], [tokens.length - 1]),
  });
  cache.append(made, tokens.length);
  return made['logits']!.data as Float32Array;
}

async function readAll(tokens: readonly number[]): Promise<void> {
  for (let at = 0; at < tokens.length; at += READ_AT_ONCE) {
    await read(tokens.slice(at, at + READ_AT_ONCE));
  }
}

async function timed(act: () => Promise<unknown>): Promise<number> {
  const fromMs = performance.now();
  await act();
  return performance.now() - fromMs;
}

async function answer({
  kind,
  engine,
  tokens = 0,
}: Ask & { engine: 'simd' | 'wasm' }): Promise<Told> {
  if (kind === 'open') return open(engine);
  if (kind === 'fill') {
    fresh();
    return { ms: [await timed(() => readAll(someTokens(tokens)))] };
  }
  if (kind === 'read') {
    fresh();
    return { ms: [await timed(() => readAll(someTokens(tokens)))] };
  }
  const ms: number[] = [];
  if (kind === 'speak') {
    for (const token of someTokens(tokens)) ms.push(await timed(() => read([token])));
    return { ms };
  }
  fresh();
  const scores: Float32Array[] = [];
  for (const token of someTokens(64)) {
    const logits = await read([token]);
    const best = logits.reduce((a, b) => Math.max(a, b));
    const sum = best + Math.log(logits.reduce((a, b) => a + Math.exp(b - best), 0));
    scores.push(logits.map((x) => x - sum));
  }
  return { ms, scores };
}

self.onmessage = ({ data }) =>
  void answer(data).then(
    (told) => postMessage(told),
    (error: Error) => postMessage({ ms: [], error: `${error.name}: ${error.message}` }),
  );
