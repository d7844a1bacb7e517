// Our own kernels on the real model, on the blocks of its file and on threads: against PyTorch in fp32 where
// activations have 16 bits, and in distribution where they have 8.
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  buildTokenizer,
  ChatEngine,
  type Checkpoint,
  type SimdRuntime,
  type Tokenizer,
} from '@rapport/core';
import { realCheckpoint } from '../support/checkpoint.ts';
import { closenessOnAnswers, perplexityChange, report } from '../support/closeness.ts';
import { CountedLookup, REPEATING } from '../support/counted-lookup.ts';
import { expectGreedy, expectNextToken, greedyCases, greedyReply } from '../support/greedy.ts';
import { hasRelaxedSimd, kernelModuleOf, kernelRuntime } from '../support/kernels.ts';
import { nodeRuntime } from '../support/node-runtime.ts';

/** Log-probs differ by the rounding of activations to 16 bits. */
const TOLERANCE = 5e-3;
const TEXTS = 12;
const demonstrations = new URL('../data/demonstrations.jsonl', import.meta.url);
/** Tokens of a reply that is said with and without guesses. */
const SPOKEN = 32;

let checkpoint: Checkpoint;
let tokenizer: Tokenizer;

beforeAll(async () => {
  checkpoint = await realCheckpoint();
  tokenizer = await buildTokenizer(checkpoint.tokenizer);
}, 300_000);

describe('the real model on our own kernels', () => {
  let runtime: SimdRuntime;
  let engine: ChatEngine;

  beforeAll(async () => {
    runtime = await kernelRuntime(checkpoint, kernelModuleOf('plain'));
    engine = await ChatEngine.create({ checkpoint, tokenizer, runtime });
  }, 300_000);

  afterAll(() => runtime.dispose());

  it.each(greedyCases)('answers as PyTorch does: $prompt', (golden) =>
    expectGreedy(engine, golden, TOLERANCE),
  );

  it.each(greedyCases)('scores the next token as PyTorch does: $prompt', (golden) =>
    expectNextToken(engine, golden, TOLERANCE),
  );

  it('fits into a third of what the same model takes in fp32', () => {
    expect(runtime.sizeBytes).toBeLessThan(200e6);
  });

  it('says with guesses what it says without', () => expectSameWithGuesses(runtime));
});

describe.runIf(await hasRelaxedSimd())('the real model on relaxed SIMD', () => {
  let runtime: SimdRuntime;

  beforeAll(async () => {
    runtime = await kernelRuntime(checkpoint, kernelModuleOf('relaxed'));
  }, 300_000);

  afterAll(() => runtime.dispose());

  it('stays within KL 0.005 and half a percent of perplexity of fp32 on answers', async () => {
    const sums = await closenessOnAnswers({
      ...{ checkpoint, tokenizer, exact: await nodeRuntime(checkpoint), other: runtime },
      demonstrations: await readFile(demonstrations, 'utf8'),
      count: TEXTS,
    });
    console.log(report(sums));
    expect(sums.tokens).toBeGreaterThan(500);
    expect(sums.kl / sums.tokens).toBeLessThan(0.005);
    expect(perplexityChange(sums)).toBeLessThan(0.005);
  });

  it('says with guesses what it says without', () => expectSameWithGuesses(runtime));

  it('scores the next token exactly where a release is checked', async () => {
    const engine = await ChatEngine.create({ checkpoint, tokenizer, runtime });
    await expectNextToken(engine, greedyCases[0]!, TOLERANCE);
  });
});

async function expectSameWithGuesses(runtime: SimdRuntime): Promise<void> {
  const lookup = new CountedLookup();
  const parts = { checkpoint, tokenizer, runtime };
  const plain = await ChatEngine.create({ ...parts, lookup: null });
  const guessing = await ChatEngine.create({ ...parts, lookup });
  for (const prompt of [REPEATING, greedyCases[0]!.prompt]) {
    const expected = await greedyReply(plain, prompt, SPOKEN);
    const found = await greedyReply(guessing, prompt, SPOKEN);
    expect(found.text).toBe(expected.text);
    expect(found.tokens).toEqual(expected.tokens);
    expect(found.logprobs).toEqual(expected.logprobs);
  }
  expect(lookup.right).toBeGreaterThan(0);
}
