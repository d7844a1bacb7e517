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
import { closeness, loadChat, readText, together } from '../support/closeness.ts';
import { expectGreedy, expectNextToken, greedyCases } from '../support/greedy.ts';
import { hasRelaxedSimd, kernelModuleOf, kernelRuntime } from '../support/kernels.ts';
import { nodeRuntime } from '../support/node-runtime.ts';

/** Log-probs differ by the rounding of activations to 16 bits. */
const TOLERANCE = 5e-3;
const TEXTS = 12;

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
});

describe.runIf(await hasRelaxedSimd())('the real model on relaxed SIMD', () => {
  let runtime: SimdRuntime;

  beforeAll(async () => {
    runtime = await kernelRuntime(checkpoint, kernelModuleOf('relaxed'));
  }, 300_000);

  afterAll(() => runtime.dispose());

  it('stays within KL 0.005 and half a percent of perplexity of fp32 on answers', async () => {
    const exact = await loadChat(await nodeRuntime(checkpoint), checkpoint);
    const own = await loadChat(runtime, checkpoint);
    const parts = [];
    for (const { prompt, tokens } of await answers(TEXTS)) {
      const [p, q] = [
        await readText(exact, checkpoint, tokens),
        await readText(own, checkpoint, tokens),
      ];
      parts.push(closeness(p, q, tokens, prompt));
    }
    const sums = together(parts);
    console.log(report(sums));
    expect(sums.tokens).toBeGreaterThan(500);
    expect(sums.kl / sums.tokens).toBeLessThan(0.005);
    expect(Math.abs(sums.nll - sums.exactNll) / sums.tokens).toBeLessThan(0.005);
  });

  it('scores the next token exactly where a release is checked', async () => {
    const engine = await ChatEngine.create({ checkpoint, tokenizer, runtime });
    await expectNextToken(engine, greedyCases[0]!, TOLERANCE);
  });
});

const report = ({ tokens, exactNll, nll, kl, same }: ReturnType<typeof together>): string =>
  [
    `${tokens} tokens: KL to fp32 ${(kl / tokens).toFixed(5)}`,
    `perplexity ${Math.exp(nll / tokens).toFixed(3)} (fp32 ${Math.exp(exactNll / tokens).toFixed(3)})`,
    `the same likeliest token at ${((100 * same) / tokens).toFixed(1)} %`,
  ].join(', ');

/** Conversations of one turn as tokens, and how many of these are the prompt. */
async function answers(count: number): Promise<{ prompt: number; tokens: number[] }[]> {
  const lines = await readFile(new URL('../data/demonstrations.jsonl', import.meta.url), 'utf8');
  return lines
    .split('\n', count)
    .map((line) => JSON.parse(line) as { instruction: string; input: string; output: string })
    .map(({ instruction, input, output }) => {
      const content = [instruction, input].filter(Boolean).join('\n\n');
      const prompt = tokenizer.encodeChat([{ role: 'user', content }], {
        addGenerationPrompt: true,
      });
      return {
        prompt: prompt.length,
        tokens: [...prompt, ...tokenizer.encode(output)].slice(0, 512),
      };
    });
}
