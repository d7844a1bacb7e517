// Greedy replies of the real model against PyTorch's in fp32: the same tokens, the same log-probs
// (tests/golden/greedy_golden.json says how they were made).
import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { buildTokenizer, ChatEngine, type SpokenReply } from '@rapport/core';
import { realCheckpoint } from '../support/checkpoint.ts';
import { nodeRuntime } from '../support/node-runtime.ts';

interface Case {
  prompt: string;
  ids: number[];
  top10_ids: number[];
  top10_logits: number[];
  logsumexp: number;
  greedy_ids: number[];
  greedy_logprobs: number[];
  top1_top2_gap: number[];
}

const { cases } = JSON.parse(
  await readFile(new URL('../golden/greedy_golden.json', import.meta.url), 'utf8'),
) as { cases: Case[] };

/** Two scores this close may change places between two fp32 implementations. */
const TIE = 0.02;
const TOLERANCE = 1e-3;

let engine: ChatEngine;

beforeAll(async () => {
  const checkpoint = await realCheckpoint();
  engine = await ChatEngine.create({
    checkpoint,
    tokenizer: await buildTokenizer(checkpoint.tokenizer),
    runtime: await nodeRuntime(checkpoint),
  });
}, 300_000);

describe('the real model in fp32', () => {
  it.each(cases)('answers as PyTorch does: $prompt', async (golden) => {
    const reply = await greedyReply(golden.prompt, golden.greedy_ids.length);
    let same = golden.greedy_ids.findIndex((id, t) => reply.tokens[t] !== id);
    if (same < 0) same = golden.greedy_ids.length;
    else expect(golden.top1_top2_gap[same]).toBeLessThan(TIE);
    for (let t = 0; t < same; t++) {
      expect(Math.abs(reply.logprobs[t]! - golden.greedy_logprobs[t]!)).toBeLessThan(TOLERANCE);
    }
  });

  it.each(cases)('scores the next token as PyTorch does: $prompt', async (golden) => {
    const logprobs = await engine.next(golden.ids);
    golden.top10_ids.forEach((id, i) => {
      const expected = golden.top10_logits[i]! - golden.logsumexp;
      expect(Math.abs(logprobs[id]! - expected)).toBeLessThan(TOLERANCE);
    });
  });
});

async function greedyReply(prompt: string, maxTokens: number): Promise<SpokenReply> {
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
