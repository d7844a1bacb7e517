// A lesson where memory is short: layers are computed again, and what is learned is the same.
import { expect, test } from 'vitest';
import { buildTokenizer, writePeft, type Judgement, type Runtime } from '@rapport/core';
import { tinyCheckpoint } from '../../../../tests/support/tiny-in-browser.ts';
import { startBackend } from './backend.ts';
import { teach } from './teach.ts';

const { runtime } = await startBackend('wasm');
const checkpoint = await tinyCheckpoint('llama-tied');
const tokenizer = await buildTokenizer(checkpoint.tokenizer);
const lessons: Judgement[] = Array.from({ length: 4 }, (_, i) => ({
  type: 'ranking',
  body: {
    prompt: [{ role: 'user', content: `say ${i}` }],
    replies: ['good', 'bad'].map((text) => ({
      text: `${text} ${i}`,
      provenance: {
        release: 'base',
        adapter: null,
        sampling: { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, maxTokens: 9 },
        seed: 0,
        tokens: [],
        logprobs: [],
      },
    })),
    ranks: [1, 2],
  },
}));

/** What is learned, and the nodes of the graph that trained. */
async function learn(activationBytes?: number) {
  let nodes = 0;
  const watched: Runtime = {
    load: (graph, weights) => {
      if (graph.outputs.has('loss')) nodes = graph.nodes.length;
      return runtime.load(graph, weights);
    },
  };
  const run = teach(
    {
      ...{ method: 'dpo', lessons, heldOut: [], seed: 1, budgetTokens: 448 },
      ...(activationBytes !== undefined && { activationBytes }),
    },
    {
      ...{ checkpoint, tokenizer, runtime: watched, release: null, worked: () => 0 },
      shelf: { load: async () => undefined, save: async () => undefined },
    },
    new AbortController().signal,
  );
  let next = await run.next();
  while (!next.done) next = await run.next();
  return { nodes, tensors: writePeft(next.value.adapter).tensors };
}

test('with no room for what layers make, they make it again, and the adapter is the same', async () => {
  const ample = await learn();
  const short = await learn(0);
  expect(short.nodes).toBeGreaterThan(ample.nodes);
  expect(short.tensors).toEqual(ample.tensors);
});
