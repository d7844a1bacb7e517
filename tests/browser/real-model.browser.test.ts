// The real model in the browser, through the backend the page uses, against the same numbers as in Node.
import { beforeAll, describe, expect, it } from 'vitest';
import {
  blobSource,
  buildTokenizer,
  ChatEngine,
  openGguf,
  type Checkpoint,
  type Tokenizer,
} from '@rapport/core';
import { startBackend } from '../../apps/web/src/workers/backend.ts';
import template from '../golden/chat_template_golden.json' with { type: 'json' };
import tokens from '../golden/tokenizer_golden.json' with { type: 'json' };
import weights from '../golden/weights_golden.json' with { type: 'json' };
import { expectGreedy, expectNextToken, greedyCases } from '../support/greedy.ts';

let checkpoint: Checkpoint;
let tokenizer: Tokenizer;

beforeAll(async () => {
  const file = await (await fetch('/model.gguf')).blob();
  checkpoint = await openGguf(blobSource(file));
  tokenizer = await buildTokenizer(checkpoint.tokenizer);
});

describe('in a browser', () => {
  it('splits text and renders conversations as Hugging Face does', () => {
    for (const { text, ids } of tokens.cases) expect(tokenizer.encode(text), text).toEqual(ids);
    for (const { messages, ids_with } of template.cases) {
      expect(
        tokenizer.encodeChat(messages as Parameters<Tokenizer['encodeChat']>[0], {
          addGenerationPrompt: true,
        }),
      ).toEqual(ids_with);
    }
  });

  it('reads the numbers of the weights', async () => {
    for (const { hf_name, first8_hf } of weights.tensors) {
      const values = await checkpoint.read(hf_name);
      expect([...values.subarray(0, 8)], hf_name).toEqual(first8_hf);
    }
  });

  it('answers on WASM threads as PyTorch does', async () => {
    const { runtime, threads } = await startBackend('wasm');
    expect(threads).toBeGreaterThan(1);
    const engine = await ChatEngine.create({ checkpoint, tokenizer, runtime });
    for (const golden of greedyCases) {
      await expectGreedy(engine, golden, 1e-3);
      await expectNextToken(engine, golden, 1e-3);
    }
  }, 300_000);
});
