// Our own kernels in the browser, as the page starts them, against PyTorch and ONNX Runtime in fp32.
import { describe, expect, test } from 'vitest';
import demonstrations from '../data/demonstrations.jsonl?raw';
import { ask } from '../support/asking.ts';
import { perplexityChange, report, type Closeness } from '../support/closeness.ts';
import type { Reading } from '../support/closeness.worker.ts';
import { REPEATING } from '../support/counted-lookup.ts';
import { checkGreedy, greedyCases } from '../support/greedy.ts';
import type { Chat, Chatted } from '../support/own-kernels.worker.ts';

const cases = greedyCases.slice(0, 4);
const prompts = cases.map(({ prompt, greedy_ids }) => ({ prompt, maxTokens: greedy_ids.length }));

/** With activations of 8 bits log-probs differ by a few hundredths, seldom by more than this. */
const TOLERANCE = 0.4;
/** The two best tokens may change places where their scores are this close. */
const TIE = 0.3;
/** With activations of 16 bits log-probs differ by their rounding. */
const TOLERANCE_16 = 5e-3;

function chatOn(chat: Omit<Chat, 'choice'>): Promise<Chatted> {
  const url = new URL('../support/own-kernels.worker.ts', import.meta.url);
  return ask(new Worker(url, { type: 'module' }), { choice: 'simd', ...chat } satisfies Chat);
}

test('our own kernels answer on threads as PyTorch does, in a third of the memory', async () => {
  const { name, threads, activationBits, memoryBytes, replies } = await chatOn({ prompts });
  expect(name).toBe('WASM SIMD');
  expect(threads).toBeGreaterThan(1);
  expect(activationBits).toBe(8);
  cases.forEach((golden, i) => checkGreedy(replies[i]!, golden, TOLERANCE, TIE));
  expect(memoryBytes).toBeLessThan(200e6);
});

test('they are within KL 0.005 and half a percent of perplexity of fp32 on answers', async () => {
  const url = new URL('../support/closeness.worker.ts', import.meta.url);
  const reading: Reading = { demonstrations, count: 12 };
  const sums = await ask<Closeness>(new Worker(url, { type: 'module' }), reading);
  console.log(report(sums));
  expect(sums.tokens).toBeGreaterThan(500);
  expect(sums.kl / sums.tokens).toBeLessThan(0.005);
  expect(perplexityChange(sums)).toBeLessThan(0.005);
});

test('they say with guesses what they say without', async () => {
  const asked = { prompts: [{ prompt: REPEATING, maxTokens: 32 }] };
  const plain = await chatOn({ ...asked, guessing: false });
  const guessing = await chatOn(asked);
  expect(guessing.guessed).toBeGreaterThan(0);
  expect(guessing.replies).toEqual(plain.replies);
});

describe('in a browser without relaxed SIMD', () => {
  test('they answer closer to PyTorch, with activations of 16 bits', async () => {
    const { threads, activationBits, replies } = await chatOn({
      prompts,
      withoutRelaxedSimd: true,
    });
    expect(threads).toBeGreaterThan(1);
    expect(activationBits).toBe(16);
    cases.forEach((golden, i) => checkGreedy(replies[i]!, golden, TOLERANCE_16));
  });
});
