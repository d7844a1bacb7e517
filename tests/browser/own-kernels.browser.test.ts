// Our own kernels in the browser, as the page starts them, against PyTorch in fp32.
import { expect, test } from 'vitest';
import type { BackendChoice } from '../../apps/web/src/workers/inference.ts';
import { checkGreedy, greedyCases } from '../support/greedy.ts';
import type { Chatted } from '../support/own-kernels.worker.ts';

const cases = greedyCases.slice(0, 4);

/** With activations of 8 bits log-probs differ by a few hundredths, seldom by more than this. */
const TOLERANCE = 0.4;
/** The two best tokens may change places where their scores are this close. */
const TIE = 0.3;

async function chatOn(choice: BackendChoice): Promise<Chatted> {
  const url = new URL('../support/own-kernels.worker.ts', import.meta.url);
  const worker = new Worker(url, { type: 'module' });
  const prompts = cases.map(({ prompt, greedy_ids }) => ({ prompt, maxTokens: greedy_ids.length }));
  const answer = new Promise<Chatted>((resolve, reject) => {
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.onmessage = ({ data }) =>
      data.error ? reject(new Error(data.error as string)) : resolve(data as Chatted);
  });
  worker.postMessage({ choice, prompts });
  return answer.finally(() => worker.terminate());
}

test('our own kernels answer on threads as PyTorch does, in a third of the memory', async () => {
  const { name, threads, memoryBytes, replies } = await chatOn('simd');
  expect(name).toBe('WASM SIMD');
  expect(threads).toBeGreaterThan(1);
  cases.forEach((golden, i) => checkGreedy(replies[i]!, golden, TOLERANCE, TIE));
  expect(memoryBytes).toBeLessThan(200e6);
});
