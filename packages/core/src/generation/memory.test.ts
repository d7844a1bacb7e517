// What replies take of a runtime's memory, and what is left where that ends.
import * as ort from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { tinyCheckpoint } from '../../../../tests/support/tiny.ts';
import { zeros, type Tensor } from '../graph/tensor.ts';
import { ortRuntime } from '../runtime/ort.ts';
import type { TensorMemory } from '../runtime/runtime.ts';
import { buildTokenizer, type ChatMessage } from '../tokenizer/tokenizer.ts';
import { ChatEngine } from './chat-engine.ts';
import { roomFor } from './key-value-cache.ts';

/** Memory that counts, and that fails once when `failAfter` more allocations have been made. */
function countedMemory() {
  const live = new Set<Tensor>();
  const seen = { live, allocations: 0, bytes: 0, peakBytes: 0, freedTwice: 0, failAfter: Infinity };
  const memory: TensorMemory = {
    dtype: 'float32',
    allocate(shape) {
      seen.allocations++;
      if (seen.failAfter-- === 0) throw new RangeError('no more memory');
      const tensor = zeros(shape);
      live.add(tensor);
      seen.bytes += tensor.data.byteLength;
      seen.peakBytes = Math.max(seen.peakBytes, seen.bytes);
      return tensor;
    },
    free(tensor) {
      if (!live.delete(tensor)) seen.freedTwice++;
      seen.bytes -= tensor.data.byteLength;
    },
  };
  return { memory, seen };
}

const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 };

/** An engine with room for long conversations, in memory that is counted. */
async function counted(cacheBytes = 1e9, sequenceBytes = Infinity) {
  const { memory, seen } = countedMemory();
  const tiny = await tinyCheckpoint('llama-tied');
  const checkpoint = { ...tiny, config: { ...tiny.config, context: 2048 } };
  const tokenizer = await buildTokenizer(checkpoint.tokenizer);
  const runtime = { ...ortRuntime(ort), memory };
  const parts = { checkpoint, tokenizer, runtime, cacheBytes, sequenceBytes, lookup: null };
  const engine = await ChatEngine.create(parts);
  const { layers, kvHeads, headDim } = checkpoint.config;
  const tokenBytes = 2 * layers * kvHeads * headDim * 4;
  /** The tokens of each reply: the likeliest ones, and others that are drawn. */
  async function speak(
    messages: ChatMessage[],
    replies: number,
    maxTokens: number,
  ): Promise<number[][]> {
    const samplings = Array.from({ length: replies }, (_, seed) => {
      return { ...GREEDY, temperature: seed === 0 ? 0 : 1, maxTokens, seed };
    });
    const run = engine.speak({ messages, samplings }, new AbortController().signal);
    for (;;) {
      const step = await run.next();
      if (step.done) return step.value.map(({ tokens }) => tokens);
    }
  }
  const promptLength = (messages: ChatMessage[]): number =>
    engine.prompt({ messages, samplings: [{ ...GREEDY, maxTokens: 9, seed: 0 }] }).tokens.length;
  return { engine, speak, promptLength, seen, tokenBytes };
}

const user = (content: string): ChatMessage => ({ role: 'user', content });
const assistant = (content: string): ChatMessage => ({ role: 'assistant', content });

describe('alternates', () => {
  const prompt = [user('abcdefghij'.repeat(100))];

  test('of a prompt of 1,000 tokens take its memory once, and that of nine replies', async () => {
    const { speak, promptLength, seen, tokenBytes } = await counted();
    expect(promptLength(prompt)).toBeGreaterThanOrEqual(1000);
    await speak(prompt, 9, 6);
    const prompted = roomFor(promptLength(prompt));
    expect(seen.peakBytes).toBe(tokenBytes * (prompted + 9 * roomFor(6)));
    expect(seen.bytes).toBe(tokenBytes * prompted);
  });

  test.each([0, 1, 2, 3])('say the same when %i have room beside the prompt', async (room) => {
    const plenty = await counted();
    const expected = await plenty.speak(prompt, 4, 9);
    const prompted = roomFor(plenty.promptLength(prompt));
    const few = await counted(plenty.tokenBytes * (prompted + room * roomFor(9)));
    expect(await few.speak(prompt, 4, 9)).toEqual(expected);
    const abreast = Math.max(1, room);
    expect(few.seen.peakBytes).toBe(few.tokenBytes * (prompted + abreast * roomFor(9)));
  });
});

describe('a conversation', () => {
  test('that would take more than its bytes loses its oldest turns, and never takes them', async () => {
    const { tokenBytes } = await counted();
    const sequenceBytes = 1300 * tokenBytes;
    const { engine, speak, seen } = await counted(0, sequenceBytes);
    expect(engine.contextLength).toBe(1280);
    const messages: ChatMessage[] = [];
    for (let turn = 0; turn < 8; turn++) {
      messages.push(user('abcdefghij'.repeat(30)));
      const tokens = (await speak(messages, 1, 300))[0]!;
      messages.push(assistant(`${tokens.length} tokens`));
      expect(seen.bytes).toBeLessThanOrEqual(sequenceBytes);
    }
    const samplings = [{ ...GREEDY, maxTokens: 300, seed: 0 }];
    expect(engine.prompt({ messages, samplings }).droppedTurns).toBeGreaterThan(0);
  });

  test('may always be of a thousand tokens, and never longer than the model reads', async () => {
    expect((await counted(0, 1)).engine.contextLength).toBe(1024);
    expect((await counted()).engine.contextLength).toBe(2048);
  });
});

test('wherever memory ends, nothing is lost or given back twice, and replies are those of a fresh engine', async () => {
  const { engine, speak, seen } = await counted(400_000);
  const long = 'abcdefghij'.repeat(30);
  const first = [user('k'.repeat(80))];
  const turns: [ChatMessage[], number][] = [
    [first, 1],
    [first, 3],
    [[...first, assistant('yes'), user(long)], 1],
    [[user(long.slice(0, 100))], 1],
    [[...first, assistant('no'), user('why')], 2],
    [[...first, assistant('yes'), user(long), assistant('so'), user('and')], 1],
  ];
  const expected: number[][][] = [];
  for (const [messages, replies] of turns) {
    engine.setAdapter(null);
    expected.push(await speak(messages, replies, 6));
  }
  for (let after = 0, failed = true; failed; after++) {
    engine.setAdapter(null);
    expect(seen.live.size).toBe(0);
    failed = false;
    seen.failAfter = after;
    for (const [i, [messages, replies]] of turns.entries()) {
      const said = await speak(messages, replies, 6).catch((error: unknown) => {
        expect(error).toBeInstanceOf(RangeError);
        failed = true;
        return speak(messages, replies, 6);
      });
      expect(said, `turn ${i}, after ${after} allocations`).toEqual(expected[i]);
    }
  }
  expect(seen.freedTwice).toBe(0);
  expect(seen.allocations).toBeGreaterThan(100);
});
