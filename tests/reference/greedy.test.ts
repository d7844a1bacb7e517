// Greedy replies of the real model against PyTorch's in fp32: the same tokens, the same log-probs
// (tests/golden/greedy_golden.json says how they were made).
import { beforeAll, describe, it } from 'vitest';
import { buildTokenizer, ChatEngine } from '@rapport/core';
import { realCheckpoint } from '../support/checkpoint.ts';
import { expectGreedy, expectNextToken, greedyCases } from '../support/greedy.ts';
import { nodeRuntime } from '../support/node-runtime.ts';

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
  it.each(greedyCases)('answers as PyTorch does: $prompt', (golden) =>
    expectGreedy(engine, golden, TOLERANCE),
  );

  it.each(greedyCases)('scores the next token as PyTorch does: $prompt', (golden) =>
    expectNextToken(engine, golden, TOLERANCE),
  );
});
