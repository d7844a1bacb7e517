// Keys and values on a real graphics device (here an adapter in software).
import { expect, test, vi } from 'vitest';
import { buildTokenizer, ChatEngine, zeros, type SpokenReply } from '@rapport/core';
import { tinyCheckpoint } from '../../../../tests/support/tiny-in-browser.ts';
import { tinyTokenizer } from '../../../../tests/support/tiny-tokenizer.ts';
import { startBackend } from './backend.ts';
import { finish } from './channel.ts';
import { GraphicsMemory, type GraphicsDevice } from './graphics-memory.ts';
import type { Engine } from './inference.ts';

const greedy = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };

async function talker(engine: Engine) {
  const tiny = await tinyCheckpoint('llama-tied');
  const checkpoint = { ...tiny, config: { ...tiny.config, context: 512 } };
  const tokenizer = await buildTokenizer(tinyTokenizer);
  const { runtime } = await startBackend(engine, checkpoint);
  const chat = await ChatEngine.create({ checkpoint, tokenizer, runtime });
  return (content: string, samplings: readonly { temperature: number; seed: number }[]) =>
    finish(
      chat.speak(
        {
          messages: [{ role: 'user', content }],
          samplings: samplings.map((one) => ({ ...greedy, ...one, maxTokens: 12 })),
        },
        new AbortController().signal,
      ),
    );
}

const tokensOf = (replies: readonly SpokenReply[]) => replies.map(({ tokens }) => tokens);
const one = [{ temperature: 0, seed: 0 }];
const three = [1, 2, 3].map((seed) => ({ temperature: 1, seed }));

test('replies, alternates and what is gone back to are those of the processor', async () => {
  const [graphics, processor] = [await talker('webgpu'), await talker('wasm')];
  const long = 'hello there '.repeat(12);
  for (const [content, samplings] of [
    [long, one],
    ['who are you?', three],
    [long, three],
    ['who are you?', one],
  ] as const) {
    expect(tokensOf(await graphics(content, samplings))).toEqual(
      tokensOf(await processor(content, samplings)),
    );
  }
});

test('a token sends what is new of the conversation to the device, not the conversation', async () => {
  const ask = await talker('webgpu');
  const prompt = 'hello there '.repeat(12);
  await ask(prompt, one);
  const { env } = await import('onnxruntime-web/webgpu');
  const device = (await env.webgpu.device) as GraphicsDevice;
  let sentBytes = 0;
  const { writeBuffer } = device.queue;
  vi.spyOn(device.queue, 'writeBuffer').mockImplementation((...parameters) => {
    sentBytes += parameters[4] ?? 0;
    writeBuffer.apply(device.queue, parameters);
  });
  const { createBuffer } = device;
  vi.spyOn(device, 'createBuffer').mockImplementation((options) => {
    if ('mappedAtCreation' in options && options.mappedAtCreation) sentBytes += options.size;
    return createBuffer.call(device, options);
  });
  const [reply] = await ask(prompt, one);
  vi.restoreAllMocks();
  const { layers, kvHeads, headDim } = (await tinyCheckpoint('llama-tied')).config;
  const tokenBytes = 2 * layers * kvHeads * headDim * 4;
  const perToken = sentBytes / reply!.tokens.length;
  expect(perToken).toBeGreaterThan(tokenBytes);
  // The room is 256 tokens by now.
  expect(perToken).toBeLessThan(256 * tokenBytes * 0.5);
});

test('a device without room for a twin says so once', async () => {
  const lacks = [{ message: 'no room' }, null];
  const device = {
    createBuffer: () => ({ destroy: () => undefined }),
    pushErrorScope: () => undefined,
    popErrorScope: async () => lacks.shift() ?? null,
    queue: { writeBuffer: () => undefined },
  };
  const memory = new GraphicsMemory(() => device);
  const tensors = [memory.allocate([4]), memory.allocate([4])];
  expect(await memory.lack()).toEqual({ message: 'no room' });
  expect(await memory.lack()).toBeNull();
  expect(memory.twinOf(tensors[0]!.data)).toBeDefined();
  expect(memory.twinOf(zeros([4]).data)).toBeUndefined();
  memory.free(tensors[0]!);
  expect(memory.twinOf(tensors[0]!.data)).toBeUndefined();
});
