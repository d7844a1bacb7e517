// A lost device: injected at the border between training and runtime, and, with the adapter in software, for real.
import { expect, test } from 'vitest';
import {
  buildTokenizer,
  float32,
  Graph,
  op,
  writePeft,
  type Judgement,
  type Runtime,
} from '@rapport/core';
import { tinyCheckpoint } from '../../../../tests/support/tiny-in-browser.ts';
import { startBackend } from './backend.ts';
import { losable, survivingLoss } from './device-loss.ts';
import { teach, type Shelf, type Taught } from './teach.ts';
import type { TrainingNews } from './training.ts';

const provenance = {
  release: 'base',
  adapter: null,
  sampling: { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, maxTokens: 9 },
  seed: 0,
  tokens: [],
  logprobs: [],
};
const lessons: Judgement[] = Array.from({ length: 8 }, (_, i) => ({
  type: 'ranking',
  body: {
    prompt: [{ role: 'user', content: `say ${i}` }],
    replies: ['good', 'bad'].map((text) => ({ text: `${text} ${i}`, provenance })),
    ranks: [1, 2],
  },
}));
const lesson = { method: 'dpo', lessons, heldOut: [], seed: 1, budgetTokens: 448 } as const;

/** What happens on a lost device: a run fails in the engine's words, or is never answered. */
const faults = {
  'the engine fails before the browser says so': (lose: () => void) => {
    setTimeout(lose, 20);
    return Promise.reject(new Error('Failed to execute mapAsync: [Buffer] is unmapped'));
  },
  'the engine never answers': (lose: () => void) => {
    lose();
    return new Promise<never>(() => undefined);
  },
};

/** A runtime whose device is lost at its `at`-th run. */
function breaking(runtime: Runtime, at: number, fault: (lose: () => void) => Promise<never>) {
  let isLost = false;
  let lose!: () => void;
  const lost = new Promise<void>((resolve) => {
    lose = () => {
      isLost = true;
      resolve();
    };
  });
  let runs = 0;
  const inner: Runtime = {
    async load(graph, weights) {
      const session = await runtime.load(graph, weights);
      return {
        run: (feeds) => (++runs >= at ? fault(lose) : session.run(feeds)),
        dispose: () => (isLost ? new Promise(() => undefined) : session.dispose()),
      };
    },
  };
  return losable(inner, () => lost);
}

const { runtime } = await startBackend('wasm');
const checkpoint = await tinyCheckpoint('llama-tied');
const tokenizer = await buildTokenizer(checkpoint.tokenizer);

function shelf(): Shelf {
  const kept = new Map<string, unknown>();
  return {
    load: async <T>(name: string) => kept.get(name) as T | undefined,
    save: async (name, value) => void kept.set(name, structuredClone(value)),
  };
}

async function learn(first: Runtime) {
  const around = { checkpoint, tokenizer, release: null, worked: () => 0, shelf: shelf() };
  const { signal } = new AbortController();
  const news: TrainingNews[] = [];
  const run = survivingLoss<TrainingNews, Taught>(
    (on) => teach(lesson, { ...around, runtime: on }, signal),
    first,
    async () => runtime,
    { kind: 'device-lost' },
  );
  for (;;) {
    const next = await run.next();
    if (next.done) return { news, tensors: writePeft(next.value.adapter).tensors };
    news.push(next.value);
  }
}

test.each(Object.entries(faults))(
  'when %s, training goes on from the last saved step to the same adapter',
  async (_, fault) => {
    const whole = await learn(runtime);
    const survived = await learn(breaking(runtime, 20, fault));
    const steps = survived.news.flatMap((one) => (one.kind === 'step' ? one.step.step : []));
    const lostAt = survived.news.findIndex(({ kind }) => kind === 'device-lost');
    const kinds = survived.news.map(({ kind }) => kind);
    expect(lostAt).toBeGreaterThan(kinds.indexOf('step'));
    expect(lostAt).toBeLessThan(kinds.lastIndexOf('step'));
    expect(steps.at(-1)).toBe(28);
    // At most the steps since the last save are computed twice.
    expect(steps.length).toBeLessThanOrEqual(28 + 2);
    expect(survived.tensors).toEqual(whole.tensors);
  },
);

test('any other failure is not taken for a lost device', async () => {
  const fault = () => Promise.reject(new Error('bad_alloc'));
  await expect(learn(breaking(runtime, 20, fault))).rejects.toThrow('bad_alloc');
});

/** y = x·Wᵀ on real graphics. */
async function product(graphics: Runtime) {
  const graph = new Graph();
  const x = graph.input('x', 'float32', [1, 64]);
  graph.output('y', op.matmulTransposed(x, graph.weight('w', 'float32', [64, 64])));
  const session = await graphics.load(graph, () => float32([64, 64], new Float32Array(4096)));
  const run = () => session.run({ x: float32([1, 64], new Float32Array(64)) });
  return { run, dispose: () => session.dispose() };
}

test('a device that was let go with its last session is not lost', async () => {
  const { runtime: graphics } = await startBackend('webgpu');
  const first = await product(graphics);
  await first.run();
  await first.dispose();
  const second = await product(graphics);
  expect((await second.run())['y']!.shape).toEqual([1, 64]);
  const third = await product(graphics);
  await second.dispose();
  expect((await third.run())['y']!.shape).toEqual([1, 64]);
  await third.dispose();
});

test('a real device that is lost fails what runs on it by name', async () => {
  const { runtime: graphics, name } = await startBackend('webgpu');
  expect(name).toBe('WebGPU');
  const { run, dispose } = await product(graphics);
  await run();
  const { env } = await import('onnxruntime-web/webgpu');
  ((await env.webgpu.device) as { destroy(): void }).destroy();
  await expect(run()).rejects.toMatchObject({ code: 'runtime/device-lost' });
  await dispose();
});
