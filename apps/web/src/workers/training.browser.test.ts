// The real training worker on a tiny checkpoint: files from the origin's storage, ONNX Runtime on WASM
// threads, judgements in, a personal adapter out.
import { beforeAll, expect, test } from 'vitest';
import { Random, sha256Hex, type Judgement } from '@rapport/core';
import configUrl from '../../../../tests/reference/checkpoints/llama-tied/config.json?url';
import weightsUrl from '../../../../tests/reference/checkpoints/llama-tied/model.safetensors?url';
import { tinyTokenizer } from '../../../../tests/support/tiny-tokenizer.ts';
import { hasGraphics } from './backend.ts';
import { finish } from './channel.ts';
import type { ModelManifest } from './inference.ts';
import { ordinaryText } from './ordinary-text.ts';
import { planOf } from './plan.ts';
import { startTraining } from './start-training.ts';
import type { TrainingMethod, TrainingOrder, TrainingStep } from './training.ts';

let manifest: ModelManifest;

beforeAll(async () => {
  const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const files = {
    'config.json': await bytesAt(configUrl),
    'model.safetensors': await bytesAt(weightsUrl),
    'tokenizer.json': text(tinyTokenizer.tokenizerJson),
    'tokenizer_config.json': text(tinyTokenizer.tokenizerConfig),
  };
  const kept = await Promise.all(Object.entries(files).map(([name, bytes]) => keep(name, bytes)));
  manifest = { name: 'tiny', format: 'safetensors', digest: 'tiny', files: kept };
});

async function bytesAt(url: string): Promise<Uint8Array> {
  return new Uint8Array(await (await fetch(url)).arrayBuffer());
}

async function keep(name: string, bytes: Uint8Array) {
  const digest = await sha256Hex(bytes);
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle('weights', { create: true });
  const writable = await (await folder.getFileHandle(digest, { create: true })).createWritable();
  await writable.write(bytes as BufferSource);
  await writable.close();
  return { name, digest, sizeBytes: bytes.byteLength, chunks: { size: 1 << 20, sha256: [] } };
}

/** Rankings of random words by a person who likes the letter e. */
function rankings(count: number, random: Random): Judgement[] {
  const word = (letters: string, length: number) =>
    Array.from({ length }, () => letters[random.integer(letters.length)]).join('');
  const provenance = {
    release: 'base',
    adapter: null,
    sampling: { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, maxTokens: 64 },
    seed: 0,
    tokens: [],
    logprobs: [],
  };
  return Array.from({ length: count }, () => ({
    type: 'ranking',
    body: {
      prompt: [{ role: 'user', content: word('abcdefgh', 5) }],
      replies: [word('eeeeab', 8), word('bcdfgh', 8)].map((text) => ({ text, provenance })),
      ranks: [1, 2],
    },
  }));
}

function order(method: TrainingMethod = 'dpo'): TrainingOrder {
  const random = new Random(3);
  const lessons = rankings(16, random);
  const heldOut = rankings(6, random);
  const around = { manifest, backend: 'wasm', release: null, method, seed: 1 } as const;
  return { id: crypto.randomUUID(), ...around, lessons, heldOut };
}

/** Trains in a worker of its own, to the end. */
async function train(lesson: TrainingOrder) {
  const { trainer, end } = startTraining();
  const steps: TrainingStep[] = [];
  const outcome = await finish(trainer.train(lesson), (news) => {
    if (news.kind === 'step') steps.push(news.step);
  });
  end();
  return { steps, outcome };
}

test('what a person prefers becomes likelier on prompts kept apart, and a worker that is ended in the middle is gone on from in another, to the same adapter', async () => {
  const lesson = order();
  const cut = startTraining();
  for await (const news of cut.trainer.train(lesson)) {
    if (news.kind === 'step' && news.step.step === 9) break;
  }
  cut.end();
  const resumed = await train(lesson);
  // It may have come a few steps further before it was ended.
  expect(resumed.steps[0]!.step).toBeGreaterThanOrEqual(9);
  expect(resumed.steps[0]!.step).toBeLessThan(28);

  const whole = await train({ ...lesson, id: crypto.randomUUID() });
  expect(whole.steps[0]!.loss).toBeCloseTo(Math.LN2, 4);
  // A step sees two rankings: the last four together.
  const late = whole.steps.slice(-4).reduce((sum, { loss }) => sum + loss! / 4, 0);
  expect(late).toBeLessThan(0.6);
  expect(whole.outcome.comparison).toMatchObject({ pairs: 6, gained: 6 });
  expect(whole.outcome.comparison.nllChange).toBeLessThanOrEqual(0.03);
  expect(whole.outcome.adapter.rank).toBe(8);
  expect(resumed.outcome).toMatchObject({
    adapter: whole.outcome.adapter,
    comparison: whole.outcome.comparison,
  });
});

test('a person who likes anything better than ordinary answers teaches no more than ordinary text can bear', async () => {
  const dislikes = ({ body }: Judgement, i: number): Judgement => {
    const [reply] = 'replies' in body ? body.replies : [body.reply];
    const answer = ordinaryText.at(-1 - (i % 5))!.answer.slice(0, 120);
    const replies = ['zqxj'.repeat(4), answer].map((text) => ({ ...reply!, text }));
    return { type: 'ranking', body: { prompt: body.prompt, replies, ranks: [1, 2] } };
  };
  const { lessons, ...rest } = order();
  const { outcome } = await train({ ...rest, lessons: lessons.map(dislikes) });
  const { scale, nllChange } = outcome.comparison;
  expect(scale).toBeGreaterThan(0.1);
  expect(scale).toBeLessThan(0.9);
  expect(nllChange).toBeGreaterThan(0.02);
  expect(nllChange).toBeLessThanOrEqual(0.03);
});

test('a full round goes on from learning to practising against the reward model, also in another worker', async () => {
  const lesson = order('ppo');
  const cut = startTraining();
  for await (const news of cut.trainer.train(lesson)) {
    if (news.kind === 'step' && news.stage === 'practising') break;
  }
  cut.end();
  const { steps, outcome } = await train(lesson);
  // What was learned is not learned again: the rounds of practice are left.
  expect(steps.every(({ loss, score }) => loss === null && Number.isFinite(score))).toBe(true);
  expect(steps.at(-1)).toMatchObject({ step: 28 + 3, of: 28 + 3 });

  const whole = await train({ ...lesson, id: crypto.randomUUID() });
  expect(whole.steps.filter(({ score }) => score === null)).toHaveLength(28);
  expect(whole.steps.filter(({ score }) => score !== null)).toHaveLength(3);
  expect(outcome.adapter).toEqual(whole.outcome.adapter);
});

test('when the browser forgets the files of the model in the middle, that is said, and nothing learned is lost', async () => {
  const lesson = order();
  const { trainer, end } = startTraining();
  const weights = manifest.files.find(({ name }) => name === 'model.safetensors')!;
  let learned = 0;
  const run = finish(trainer.train(lesson), (news) => {
    if (news.kind !== 'step') return;
    if (++learned === 1) void forget(weights.digest);
  });
  await expect(run).rejects.toMatchObject({ code: 'training/file-gone' });
  end();
  expect(learned).toBe(28);

  await keep('model.safetensors', await bytesAt(weightsUrl));
  const { steps, outcome } = await train(lesson);
  expect(steps).toEqual([]);
  expect(outcome.comparison).toMatchObject({ pairs: 6, gained: 6 });
});

async function forget(digest: string): Promise<void> {
  const root = await navigator.storage.getDirectory();
  await (await root.getDirectoryHandle('weights')).removeEntry(digest);
}

test('a trial measures the real training graph: time, memory of the engine, larger runs as they fit', async () => {
  const { trainer, end } = startTraining();
  const trial = (await finish(trainer.trial({ manifest, backend: 'wasm' })))!;
  end();
  expect(trial.backend).toBe('wasm');
  expect(trial.full).toBe(false);
  expect(trial.loadMs).toBeGreaterThan(0);
  // The weights of the upper half: less than the whole file, more than nothing.
  const file = manifest.files.find(({ name }) => name === 'model.safetensors')!;
  expect(trial.weightBytes).toBeGreaterThan(file.sizeBytes / 4);
  expect(trial.weightBytes).toBeLessThan(file.sizeBytes);
  const tokens = trial.runs.map((run) => run.tokens);
  expect(tokens.slice(0, 2)).toEqual([32, 32]);
  expect(tokens).toEqual([...tokens].sort((a, b) => a - b));
  for (const { ms, heapBytes } of trial.runs) {
    expect(ms).toBeGreaterThan(0);
    // The engine begins with 16 MB; a page has 4 GiB at most.
    expect(heapBytes).toBeGreaterThanOrEqual(2 ** 24);
    expect(heapBytes).toBeLessThan(2 ** 32);
  }
  expect(planOf([trial])).toMatchObject({ backend: 'wasm', budgetTokens: expect.any(Number) });
});

test('graphics are tried where there are any, and only there', async () => {
  const { trainer, end } = startTraining();
  const trial = await finish(trainer.trial({ manifest, backend: 'webgpu' }));
  end();
  if (!(await hasGraphics())) return expect(trial).toBeNull();
  expect(trial).toMatchObject({ backend: 'webgpu' });
  expect(trial!.runs.length).toBeGreaterThan(1);
});

test('a trial makes way for the chat', async () => {
  const { trainer, end } = startTraining();
  await finish(trainer.hold(true));
  let done = false;
  const trial = finish(trainer.trial({ manifest, backend: 'wasm' })).finally(() => (done = true));
  // One that begins later and is not held is over before.
  const other = startTraining();
  await finish(other.trainer.trial({ manifest, backend: 'wasm' }));
  other.end();
  expect(done).toBe(false);
  await finish(trainer.hold(false));
  expect((await trial)!.runs.length).toBeGreaterThan(1);
  end();
});

test('with a small budget, rows are cut to it, and the lessons are learned all the same', async () => {
  const long = ({ body }: Judgement): Judgement => {
    const replies = ('replies' in body ? body.replies : []).map(({ text, provenance }) => {
      return { text: text.repeat(40), provenance };
    });
    return { type: 'ranking', body: { prompt: body.prompt, replies, ranks: [1, 2] } };
  };
  const { lessons, ...rest } = order();
  const lesson = { ...rest, lessons: lessons.map(long), budgetTokens: 112 };
  const { steps, outcome } = await train(lesson);
  expect(steps.at(-1)!.loss).toBeLessThan(0.6);
  // 28 steps of 2 prompts with 2 replies, each row 112 tokens.
  // The pass after the last step measures its adapter.
  expect(outcome.tokensTrained).toBe((28 + 1) * 2 * 2 * 112);
});

test('a run that is held computes nothing until it is let go on', async () => {
  const { trainer, end } = startTraining();
  let moved = 0;
  const run = finish(trainer.train(order()), () => moved++);
  run.catch(() => undefined);
  await expect.poll(() => moved, { timeout: 60_000 }).toBeGreaterThan(4);
  await finish(trainer.hold(true));
  await new Promise((resolve) => setTimeout(resolve, 300));
  const heldAt = moved;
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(moved).toBe(heldAt);
  await finish(trainer.hold(false));
  await expect.poll(() => moved, { timeout: 60_000 }).toBeGreaterThan(heldAt);
  end();
});
