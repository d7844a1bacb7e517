// The graphics backend, here on an adapter in software, against the processor.
import { expect, test } from 'vitest';
import { buildTokenizer, bytesSource, ChatEngine, openSafetensors } from '@rapport/core';
import { startBackend } from '../../apps/web/src/workers/backend.ts';
import config from '../reference/checkpoints/llama-tied/config.json' with { type: 'json' };
import expected from '../reference/checkpoints/llama-tied/expected.json' with { type: 'json' };
import { tinyTokenizer } from '../support/tiny-tokenizer.ts';

async function engineOn(backend: 'wasm' | 'webgpu') {
  const file = new URL('../reference/checkpoints/llama-tied/model.safetensors', import.meta.url);
  const bytes = new Uint8Array(await (await fetch(file)).arrayBuffer());
  const checkpoint = await openSafetensors({
    config,
    ...tinyTokenizer,
    shards: [bytesSource(bytes)],
  });
  const { runtime, name } = await startBackend(backend);
  const tokenizer = await buildTokenizer(checkpoint.tokenizer);
  return { engine: await ChatEngine.create({ checkpoint, tokenizer, runtime }), name };
}

test('WebGPU gives the log-probs of WASM', async () => {
  const [onProcessor, onGraphics] = [await engineOn('wasm'), await engineOn('webgpu')];
  expect(onGraphics.name).toBe('WebGPU');
  for (const row of expected.tokens) {
    const [a, b] = [await onProcessor.engine.next(row), await onGraphics.engine.next(row)];
    a.forEach((logprob, id) => expect(Math.abs(logprob - b[id]!)).toBeLessThan(1e-2));
  }
});
