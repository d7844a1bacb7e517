// How close an engine is to an exact one on a text: both score every token of it, read in one piece.
import {
  adapterFeeds,
  causalMask,
  chatGraph,
  float32,
  int64,
  KeyValueCache,
  linearSites,
  type Checkpoint,
  type Runtime,
  type Session,
} from '@rapport/core';

/** The chat graph of a checkpoint, loaded for `readText`. */
export function loadChat(runtime: Runtime, checkpoint: Checkpoint): Promise<Session> {
  const { config, tensors } = checkpoint;
  const graph = chatGraph(config, linearSites(config, 0, config.layers));
  return runtime.load(graph, async (name) =>
    float32(tensors.get(name)!.shape, await checkpoint.read(name)),
  );
}

/** Scores [T, V] after each of `tokens` [T]. */
export async function readText(
  session: Session,
  { config }: Checkpoint,
  tokens: readonly number[],
): Promise<Float32Array> {
  const nothing = new KeyValueCache(config);
  nothing.add();
  const shape = [1, tokens.length];
  const places = tokens.map((_, i) => i);
  const made = await session.run({
    ...adapterFeeds(linearSites(config, 0, config.layers), null),
    ...nothing.feeds(),
    tokens: int64(shape, tokens),
    positions: int64(shape, places),
    mask: causalMask(tokens.length, config.heads / config.kvHeads),
    last: int64([...shape, 1], places),
  });
  return made['logits']!.data as Float32Array;
}

/** Sums over tokens; nats. */
export interface Closeness {
  tokens: number;
  /** −log p of the text by each engine. */
  exactNll: number;
  nll: number;
  /** KL of the engine from the exact one. */
  kl: number;
  /** Tokens at which both hold the same one for the likeliest. */
  same: number;
}

/** Compares scores [T, V] where they predict `tokens` from the `from`-th on. */
export function closeness(
  exact: Float32Array,
  other: Float32Array,
  tokens: readonly number[],
  from: number,
): Closeness {
  const vocab = exact.length / tokens.length;
  const sums = { tokens: 0, exactNll: 0, nll: 0, kl: 0, same: 0 };
  for (let t = from; t < tokens.length; t++) {
    const row = [(t - 1) * vocab, t * vocab] as const;
    const [p, q] = [logSoftmax(exact.subarray(...row)), logSoftmax(other.subarray(...row))];
    sums.tokens++;
    sums.exactNll -= p.logprobs[tokens[t]!]!;
    sums.nll -= q.logprobs[tokens[t]!]!;
    sums.kl += p.logprobs.reduce((sum, x, id) => sum + Math.exp(x) * (x - q.logprobs[id]!), 0);
    sums.same += Number(p.best === q.best);
  }
  return sums;
}

/** The sum of sums. */
export const together = (parts: readonly Closeness[]): Closeness =>
  parts.reduce((a, b) => ({
    tokens: a.tokens + b.tokens,
    exactNll: a.exactNll + b.exactNll,
    nll: a.nll + b.nll,
    kl: a.kl + b.kl,
    same: a.same + b.same,
  }));

function logSoftmax(scores: Float32Array): { logprobs: Float64Array; best: number } {
  let best = 0;
  for (let id = 1; id < scores.length; id++) if (scores[id]! > scores[best]!) best = id;
  const top = scores[best]!;
  let sum = 0;
  for (const x of scores) sum += Math.exp(x - top);
  const norm = top + Math.log(sum);
  return { logprobs: Float64Array.from(scores, (x) => x - norm), best };
}
