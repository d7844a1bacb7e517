// Our own kernels on the real model, on the blocks of its file and on threads, against PyTorch in fp32.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildTokenizer, ChatEngine, type Checkpoint, type SimdRuntime } from '@rapport/core';
import { realCheckpoint } from '../support/checkpoint.ts';
import { expectGreedy, expectNextToken, greedyCases } from '../support/greedy.ts';
import { kernelRuntime } from '../support/kernels.ts';

/** Log-probs differ by the rounding of activations to 16 bits. */
const TOLERANCE = 5e-3;

let runtime: SimdRuntime;
let engine: ChatEngine;

beforeAll(async () => {
  const checkpoint: Checkpoint = await realCheckpoint();
  runtime = await kernelRuntime(checkpoint);
  engine = await ChatEngine.create({
    checkpoint,
    tokenizer: await buildTokenizer(checkpoint.tokenizer),
    runtime,
  });
}, 300_000);

afterAll(() => runtime.dispose());

describe('the real model on our own kernels', () => {
  it.each(greedyCases)('answers as PyTorch does: $prompt', (golden) =>
    expectGreedy(engine, golden, TOLERANCE),
  );

  it.each(greedyCases)('scores the next token as PyTorch does: $prompt', (golden) =>
    expectNextToken(engine, golden, TOLERANCE),
  );

  it('fits into a third of what the same model takes in fp32', () => {
    expect(runtime.sizeBytes).toBeLessThan(200e6);
  });
});
