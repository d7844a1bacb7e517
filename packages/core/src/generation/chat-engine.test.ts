import * as ort from 'onnxruntime-node';
import { beforeAll, describe, expect, test } from 'vitest';
import { tinyCheckpoint, type TinyName } from '../../../../tests/support/tiny.ts';
import { ortRuntime } from '../runtime/ort.ts';
import { buildTokenizer, type ChatMessage } from '../tokenizer/tokenizer.ts';
import { ChatEngine } from './chat-engine.ts';
import type { SamplingWithSeed, SpeakRequest, SpokenReply, SpokenToken } from './speech.ts';

const FREE = { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 11 };
const hi: ChatMessage[] = [{ role: 'user', content: 'hi' }];

let engine: ChatEngine;
beforeAll(async () => {
  engine = await engineOf('llama-tied');
});

async function engineOf(name: TinyName): Promise<ChatEngine> {
  const checkpoint = await tinyCheckpoint(name);
  const tokenizer = await buildTokenizer(checkpoint.tokenizer);
  return ChatEngine.create({ checkpoint, tokenizer, runtime: ortRuntime(ort) });
}

const never = new AbortController().signal;

/** Everything that is streamed, and what it ends with. `onToken` sees each token when it comes. */
async function speak(
  request: SpeakRequest,
  signal = never,
  onToken: (token: SpokenToken) => void = () => undefined,
  speaker = engine,
): Promise<{ tokens: SpokenToken[]; replies: SpokenReply[] }> {
  const tokens: SpokenToken[] = [];
  const run = speaker.speak(request, signal);
  for (;;) {
    const step = await run.next();
    if (step.done) return { tokens, replies: step.value };
    tokens.push(step.value);
    onToken(step.value);
  }
}

const one = (sampling: Partial<SamplingWithSeed> = {}): SpeakRequest => ({
  messages: hi,
  samplings: [{ ...FREE, maxTokens: 20, ...sampling }],
});

/** With this seed the tiny model speaks on for 20 tokens. */
async function longReply(): Promise<SpokenReply> {
  const [reply] = (await speak(one())).replies;
  expect(reply!.finishReason).toBe('length');
  return reply!;
}

describe('a reply', () => {
  test('has at most as many tokens as it may', async () => {
    await longReply();
    for (const maxTokens of [1, 2, 7]) {
      const { tokens, replies } = await speak(one({ maxTokens }));
      expect(tokens).toHaveLength(maxTokens);
      expect(replies[0]!.finishReason).toBe('length');
    }
  });

  test('streams exactly the tokens, log-probs and text it ends with', async () => {
    const samplings = [1, 2, 3].map((seed) => ({ ...FREE, maxTokens: 12, seed }));
    const { tokens, replies } = await speak({ messages: hi, samplings });
    replies.forEach((reply, index) => {
      const own = tokens.filter((token) => token.index === index);
      expect(own.map(({ id }) => id)).toEqual(reply.tokens);
      expect(own.map(({ logprob }) => logprob)).toEqual(reply.logprobs);
      expect(own.map(({ text }) => text).join('')).toBe(reply.text);
    });
  });

  test('made beside others is the one it would have been alone', async () => {
    const samplings = [1, 2, 3].map((seed) => ({ ...FREE, maxTokens: 12, seed }));
    const { replies } = await speak({ messages: hi, samplings });
    for (const [i, sampling] of samplings.entries()) {
      const alone = (await speak({ messages: hi, samplings: [sampling] })).replies[0]!;
      expect(replies[i]!.tokens).toEqual(alone.tokens);
    }
  });

  test('ends before a stop sequence, which never shows', async () => {
    const { text, tokens } = await longReply();
    const stop = text.slice(5, 8);
    const { tokens: streamed, replies } = await speak(one({ stop: ['not said', stop] }));
    const [reply] = replies;
    expect(reply!.finishReason).toBe('stop');
    expect(reply!.text).toBe(text.slice(0, text.indexOf(stop)));
    expect(streamed.map((token) => token.text).join('')).toBe(reply!.text);
    expect(reply!.tokens).toEqual(tokens.slice(0, reply!.tokens.length));
    expect(reply!.logprobs).toHaveLength(reply!.tokens.length);
  });

  test('goes on from what it had said', async () => {
    const greedy = { temperature: 0, maxTokens: 12 };
    const whole = (await speak(one(greedy))).replies[0]!;
    const prefix = whole.tokens.slice(0, 5);
    const rest = await speak({ ...one({ ...greedy, maxTokens: 7 }), prefix });
    expect(rest.replies[0]!.tokens).toEqual(whole.tokens.slice(5));
  });
});

describe('a reply that is stopped', () => {
  test.each([1, 2, 5])('after %i tokens says no more', async (count) => {
    await longReply();
    const stop = new AbortController();
    let seen = 0;
    const { tokens, replies } = await speak(one(), stop.signal, () => {
      if (++seen === count) stop.abort();
    });
    expect(tokens).toHaveLength(count);
    expect(replies[0]).toMatchObject({ finishReason: 'cancelled' });
    expect(replies[0]!.tokens).toHaveLength(count);
  });

  test('while a token is computed ends with that token', async () => {
    await longReply();
    const stop = new AbortController();
    const run = engine.speak(one(), stop.signal);
    await run.next();
    const second = run.next();
    stop.abort();
    const last = await second;
    expect(last.done).toBe(true);
    expect((last.value as SpokenReply[])[0]!.tokens).toHaveLength(1);
  });

  test('beside others stops all of them', async () => {
    await longReply();
    const stop = new AbortController();
    const samplings = [0, 1, 2].map(() => ({ ...FREE, maxTokens: 20 }));
    const { tokens } = await speak({ messages: hi, samplings }, stop.signal, () => stop.abort());
    expect(tokens).toHaveLength(1);
  });

  test('before it begins says nothing', async () => {
    const { tokens, replies } = await speak(one(), AbortSignal.abort());
    expect(tokens).toEqual([]);
    expect(replies[0]).toMatchObject({ tokens: [], text: '', finishReason: 'cancelled' });
  });

  test('leaves the next one as it would have been', async () => {
    const before = await longReply();
    const stop = new AbortController();
    await speak(one(), stop.signal, () => stop.abort());
    expect((await speak(one())).replies[0]!.tokens).toEqual(before.tokens);
  });
});

describe('a conversation longer than the context of 64 tokens', () => {
  const long: ChatMessage[] = [
    { role: 'user', content: 'abcdef' },
    { role: 'assistant', content: 'ghijkl' },
    { role: 'user', content: 'mnopqr' },
    { role: 'assistant', content: 'stuvwx' },
    { role: 'user', content: 'now' },
  ];

  test('is answered from its newest turns, and says how many it left out', async () => {
    const samplings = [{ ...FREE, temperature: 0, maxTokens: 4 }];
    const { replies } = await speak({ messages: long, samplings });
    const short = await speak({ messages: long.slice(2), samplings });
    expect(replies[0]!.droppedTurns).toBe(1);
    expect(replies[0]!.tokens).toEqual(short.replies[0]!.tokens);
    expect(short.replies[0]).not.toHaveProperty('droppedTurns');
  });

  test('never reads or speaks past its context', async () => {
    const message = { role: 'user' as const, content: 'abcdefghijklmnopqrst' };
    const samplings = [{ ...FREE, maxTokens: 1000 }];
    for (let seed = 0; seed < 5; seed++) {
      const request = { messages: [message], samplings: [{ ...samplings[0]!, seed }] };
      const { replies } = await speak(request);
      const used = engine.prompt(request).tokens.length + replies[0]!.tokens.length;
      expect(used).toBeLessThanOrEqual(64);
    }
  });

  test('never asks GPT-2 for a position it has not learned', async () => {
    const gpt2 = await engineOf('gpt2');
    const samplings = [{ ...FREE, maxTokens: 1000 }];
    const request = { messages: [...long, ...long], samplings };
    const { replies } = await speak(request, never, undefined, gpt2);
    expect(replies[0]!.droppedTurns).toBeGreaterThan(0);
    const used = gpt2.prompt(request).tokens.length + replies[0]!.tokens.length;
    expect(used).toBeLessThanOrEqual(64);
  });

  test('with a reply to continue leaves room for it', async () => {
    const prefix = Array.from({ length: 44 }, () => 9);
    const samplings = [{ ...FREE, maxTokens: 1000 }];
    const request = { messages: [{ role: 'user' as const, content: 'a' }], samplings, prefix };
    await expect(speak(request)).rejects.toMatchObject({ code: 'generation/too-long' });
    const short = { ...request, prefix: prefix.slice(0, 20) };
    const { replies } = await speak(short);
    const used = engine.prompt(short).tokens.length + 20 + replies[0]!.tokens.length;
    expect(used).toBeLessThanOrEqual(64);
  });
});
