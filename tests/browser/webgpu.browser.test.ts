// The same graphs on the processor and on graphics (here an adapter in software): close to each other
// and to PyTorch.
import { describe, expect, test } from 'vitest';
import {
  buildTokenizer,
  ChatEngine,
  joinAdapters,
  linearSites,
  type Adapter,
  type Checkpoint,
  type Runtime,
} from '@rapport/core';
import { startBackend } from '../../apps/web/src/workers/backend.ts';
import { randomAdapter } from '../support/adapters.ts';
import { tinyCheckpoint, tinyExpected } from '../support/tiny-in-browser.ts';

const BETWEEN_BACKENDS = 1e-2;
const TO_PYTORCH = 1e-4;

const processor = startBackend('wasm').then(({ runtime }) => runtime);
const graphics = startBackend('webgpu').then(({ name, runtime }) => {
  expect(name).toBe('WebGPU');
  return runtime;
});

describe.each(['llama-tied', 'qwen2-untied', 'qwen3-tied', 'gpt2'] as const)('%s', (name) => {
  test('says on WebGPU what it says on WASM', async () => {
    const checkpoint = await tinyCheckpoint(name);
    const { tokens, logits } = await tinyExpected(name);
    const [wasm, webgpu] = await Promise.all([
      engine(checkpoint, processor),
      engine(checkpoint, graphics),
    ]);
    const row = tokens[0]!;
    const [a, b] = [await wasm.next(row), await webgpu.next(row)];
    expect(furthest(a, logSoftmax(logits[0]!.at(-1)!))).toBeLessThan(TO_PYTORCH);
    expect(furthest(b, a)).toBeLessThan(BETWEEN_BACKENDS);
  });

  test('speaks two replies side by side, with an adapter joined of two', async () => {
    const checkpoint = await tinyCheckpoint(name);
    const sites = linearSites(checkpoint.config, 0, 2);
    const adapter = joinAdapters(
      randomAdapter(sites, { rank: 2, alpha: 2, seed: 1 }),
      randomAdapter(sites, { rank: 1, alpha: 1, seed: 2 }),
    );
    const [a, b] = [
      await speak(checkpoint, processor, adapter),
      await speak(checkpoint, graphics, adapter),
    ];
    expect(b.map(({ tokens }) => tokens)).toEqual(a.map(({ tokens }) => tokens));
    a.forEach((reply, i) => {
      expect(furthest(b[i]!.logprobs, reply.logprobs)).toBeLessThan(BETWEEN_BACKENDS);
    });
    // The adapter was really there.
    const bare = await speak(checkpoint, graphics, null);
    expect(furthest(bare[0]!.logprobs.slice(0, 1), a[0]!.logprobs)).toBeGreaterThan(
      BETWEEN_BACKENDS,
    );
  });
});

async function engine(checkpoint: Checkpoint, runtime: Promise<Runtime>): Promise<ChatEngine> {
  const tokenizer = await buildTokenizer(checkpoint.tokenizer);
  return ChatEngine.create({ checkpoint, tokenizer, runtime: await runtime });
}

async function speak(checkpoint: Checkpoint, runtime: Promise<Runtime>, adapter: Adapter | null) {
  const speaker = await engine(checkpoint, runtime);
  speaker.setAdapter(adapter);
  const sampling = {
    temperature: 1,
    topK: 0,
    topP: 1,
    minP: 0,
    repetitionPenalty: 1,
    maxTokens: 8,
  };
  const samplings = [1, 2].map((seed) => ({ ...sampling, seed }));
  const run = speaker.speak(
    { messages: [{ role: 'user', content: 'Hi' }], samplings },
    new AbortController().signal,
  );
  for (;;) {
    const step = await run.next();
    if (step.done) return step.value;
  }
}

function logSoftmax(logits: readonly number[]): number[] {
  const sum = logits.reduce((total, x) => total + Math.exp(x), 0);
  return logits.map((x) => x - Math.log(sum));
}

const furthest = (found: ArrayLike<number>, expected: ArrayLike<number>): number =>
  Math.max(...Array.from(found, (x, i) => Math.abs(x - expected[i]!)));
