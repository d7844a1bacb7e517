// The three ways to read a reply: its prompt in pieces and then token by token, all of it at once, and as
// a scored row. They have to agree.
import {
  buildTokenizer,
  ChatEngine,
  type ChatMessage,
  type Checkpoint,
  type Runtime,
} from '@rapport/core';
import { Policy } from '@rapport/rlhf';

/** Log-probs of one sampled reply, as each way gives them. */
export async function logprobsOfPasses(
  checkpoint: Checkpoint,
  runtime: Runtime,
  {
    messages,
    readAtOnce,
    maxTokens,
  }: { messages: ChatMessage[]; readAtOnce: number; maxTokens: number },
) {
  const tokenizer = await buildTokenizer(checkpoint.tokenizer);
  const engine = await ChatEngine.create({ checkpoint, tokenizer, runtime, readAtOnce });
  const sampling = { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 4 };
  const request = { messages, samplings: [{ ...sampling, maxTokens }] };
  const run = engine.speak(request, new AbortController().signal);
  let step = await run.next();
  while (!step.done) step = await run.next();
  const [reply] = step.value;
  const { tokens: prompt } = engine.prompt(request);
  const tokens = reply!.tokens;

  const atOnce: number[] = [];
  for (const [t, id] of tokens.entries()) {
    atOnce.push((await engine.next([...prompt, ...tokens.slice(0, t)]))[id]!);
  }
  const policy = new Policy(checkpoint, runtime);
  const rows = await policy.withTrunk([{ prompt, reply: tokens }]);
  const [score] = await policy.score(rows, null);
  await policy.dispose();
  return {
    promptLength: prompt.length,
    decoded: reply!.logprobs,
    atOnce,
    scored: [...score!.logprobs],
  };
}

/** The largest difference of two lists of the same length. */
export function furthest(found: readonly number[], expected: readonly number[]): number {
  if (found.length !== expected.length) return Infinity;
  return Math.max(...found.map((x, i) => Math.abs(x - expected[i]!)));
}
