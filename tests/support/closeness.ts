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
  type Tokenizer,
} from '@rapport/core';

/** Two engines for one model, and answers for both to read. */
interface Reading {
  checkpoint: Checkpoint;
  tokenizer: Tokenizer;
  exact: Runtime;
  other: Runtime;
  /** Lines of JSON, of which the first `count` are read. */
  demonstrations: string;
  count: number;
}

/** How close both are on the answers, each after its question. */
export async function closenessOnAnswers(reading: Reading): Promise<Closeness> {
  const { checkpoint } = reading;
  const exact = await loadChat(reading.exact, checkpoint);
  const other = await loadChat(reading.other, checkpoint);
  const parts = [];
  for (const { prompt, tokens } of answers(reading)) {
    const p = await readText(exact, checkpoint, tokens, prompt);
    const q = await readText(other, checkpoint, tokens, prompt);
    parts.push(closeness(p, q, tokens.slice(prompt)));
  }
  return together(parts);
}

/** Conversations of one turn as tokens, and how many of these are the prompt. */
function answers({ demonstrations, tokenizer, count }: Reading) {
  return demonstrations
    .split('\n', count)
    .map((line) => JSON.parse(line) as { instruction: string; input: string; output: string })
    .map(({ instruction, input, output }) => {
      const content = [instruction, input].filter(Boolean).join('\n\n');
      const prompt = tokenizer.encodeChat([{ role: 'user', content }], {
        addGenerationPrompt: true,
      });
      const tokens = [...prompt, ...tokenizer.encode(output)].slice(0, 512);
      return { prompt: prompt.length, tokens };
    });
}

/** The chat graph of a checkpoint, loaded for `readText`. */
function loadChat(runtime: Runtime, checkpoint: Checkpoint): Promise<Session> {
  const { config, tensors } = checkpoint;
  const graph = chatGraph(config, linearSites(config, 0, config.layers));
  return runtime.load(graph, async (name) =>
    float32(tensors.get(name)!.shape, await checkpoint.read(name)),
  );
}

/** Scores [T − from, V] that predict `tokens` [T] from the `from`-th on. */
async function readText(
  session: Session,
  { config }: Checkpoint,
  tokens: readonly number[],
  from: number,
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
    last: int64([1, tokens.length - from, 1], places.slice(from - 1, -1)),
  });
  return made['logits']!.data as Float32Array;
}

/** Sums over tokens; nats. */
export interface Closeness {
  tokens: number;
  /** −log p of the text by each engine. */
  exactNll: number;
  nll: number;
  /** Σ (log p by one − log p by the other)². */
  squares: number;
  /** KL of the engine from the exact one. */
  kl: number;
  /** Tokens at which both hold the same one for the likeliest. */
  same: number;
}

/** Compares scores [T, V] that predict `tokens` [T]. */
function closeness(exact: Float32Array, other: Float32Array, tokens: readonly number[]): Closeness {
  const vocab = exact.length / tokens.length;
  const sums = { tokens: 0, exactNll: 0, nll: 0, squares: 0, kl: 0, same: 0 };
  for (let t = 0; t < tokens.length; t++) {
    const row = [t * vocab, (t + 1) * vocab] as const;
    const [p, q] = [logSoftmax(exact.subarray(...row)), logSoftmax(other.subarray(...row))];
    sums.tokens++;
    const [exactly, said] = [p.logprobs[tokens[t]!]!, q.logprobs[tokens[t]!]!];
    sums.exactNll -= exactly;
    sums.nll -= said;
    sums.squares += (exactly - said) ** 2;
    sums.kl += p.logprobs.reduce((sum, x, id) => sum + Math.exp(x) * (x - q.logprobs[id]!), 0);
    sums.same += Number(p.best === q.best);
  }
  return sums;
}

/** The sum of sums. */
const together = (parts: readonly Closeness[]): Closeness =>
  parts.reduce((a, b) => ({
    tokens: a.tokens + b.tokens,
    exactNll: a.exactNll + b.exactNll,
    nll: a.nll + b.nll,
    squares: a.squares + b.squares,
    kl: a.kl + b.kl,
    same: a.same + b.same,
  }));

/**
 * By how much perplexity has certainly grown or shrunk, relatively: two standard errors are taken off. A text of a thousand
 * tokens tells no less than 0.4 % from nothing where the KL is 0.002.
 */
export function perplexityChange({ tokens, exactNll, nll, squares }: Closeness): number {
  const change = Math.abs(nll - exactNll) / tokens;
  const error = Math.sqrt(squares / tokens - change ** 2) / Math.sqrt(tokens);
  return Math.max(0, change - 2 * error);
}

/** Sums as means over tokens, in words. */
export const report = (sums: Closeness): string => {
  const { tokens, exactNll, nll, kl, same } = sums;
  return [
    `${tokens} tokens: KL to fp32 ${(kl / tokens).toFixed(5)}`,
    `perplexity ${Math.exp(nll / tokens).toFixed(3)} (fp32 ${Math.exp(exactNll / tokens).toFixed(3)})`,
    `the same likeliest token at ${((100 * same) / tokens).toFixed(1)} %`,
  ].join(', ');
};

function logSoftmax(scores: Float32Array): { logprobs: Float64Array; best: number } {
  let best = 0;
  for (let id = 1; id < scores.length; id++) if (scores[id]! > scores[best]!) best = id;
  const top = scores[best]!;
  let sum = 0;
  for (const x of scores) sum += Math.exp(x - top);
  const norm = top + Math.log(sum);
  return { logprobs: Float64Array.from(scores, (x) => x - norm), best };
}
