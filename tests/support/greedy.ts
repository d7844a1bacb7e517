// The greedy replies of the real model as PyTorch made them, and how close another engine has to come.
import { expect } from 'vitest';
import type { ChatEngine, SpokenReply } from '@rapport/core';
import golden from '../golden/greedy_golden.json' with { type: 'json' };

type Case = (typeof golden.cases)[number];

export const greedyCases: readonly Case[] = golden.cases;

/** Two scores this close may change places between two fp32 implementations. */
const TIE = 0.02;

/** The same tokens up to a tie, and log-probs within `tolerance` as far as they are the same. */
export async function expectGreedy(engine: ChatEngine, golden: Case, tolerance: number) {
  checkGreedy(
    await greedyReply(engine, golden.prompt, golden.greedy_ids.length),
    golden,
    tolerance,
  );
}

export function checkGreedy(
  reply: Pick<SpokenReply, 'tokens' | 'logprobs'>,
  golden: Case,
  tolerance: number,
  tie = TIE,
): void {
  let same = golden.greedy_ids.findIndex((id, t) => reply.tokens[t] !== id);
  if (same < 0) same = golden.greedy_ids.length;
  else expect(golden.top1_top2_gap[same]).toBeLessThan(tie);
  for (let t = 0; t < same; t++) {
    expect(Math.abs(reply.logprobs[t]! - golden.greedy_logprobs[t]!)).toBeLessThan(tolerance);
  }
}

/** The ten likeliest next tokens have log-probs within `tolerance`. */
export async function expectNextToken(engine: ChatEngine, golden: Case, tolerance: number) {
  const logprobs = await engine.next(golden.ids);
  golden.top10_ids.forEach((id, i) => {
    const expected = golden.top10_logits[i]! - golden.logsumexp;
    expect(Math.abs(logprobs[id]! - expected)).toBeLessThan(tolerance);
  });
}

export async function greedyReply(
  engine: ChatEngine,
  prompt: string,
  maxTokens: number,
): Promise<SpokenReply> {
  const greedy = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };
  const stream = engine.speak(
    { messages: [{ role: 'user', content: prompt }], samplings: [{ ...greedy, maxTokens }] },
    new AbortController().signal,
  );
  for (;;) {
    const step = await stream.next();
    if (step.done) return step.value[0]!;
  }
}
