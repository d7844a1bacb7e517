// Replies of an engine that keeps what it reads are those of one that reads everything anew.
import * as ort from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { randomAdapter } from '../../../../tests/support/adapters.ts';
import { tinyCheckpoint } from '../../../../tests/support/tiny.ts';
import { linearSites } from '../models/sites.ts';
import { Random } from '../random.ts';
import { ortRuntime } from '../runtime/ort.ts';
import type { Runtime } from '../runtime/runtime.ts';
import { buildTokenizer, type ChatMessage } from '../tokenizer/tokenizer.ts';
import { ChatEngine } from './chat-engine.ts';
import type { SpokenReply } from './speech.ts';

/** Longer than that of the tiny checkpoint, which rotates positions and has learned none. */
const CONTEXT = 400;
const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };
const FREE = { ...GREEDY, temperature: 1 };

/** An engine, and how many tokens its graph has read. */
async function counted(cacheBytes = 1e9) {
  const seen = { tokens: 0 };
  const inner = ortRuntime(ort);
  const runtime: Runtime = {
    async load(graph, weights) {
      const session = await inner.load(graph, weights);
      return {
        ...session,
        run(feeds) {
          seen.tokens += feeds['tokens']!.data.length;
          return session.run(feeds);
        },
      };
    },
  };
  const tiny = await tinyCheckpoint('llama-tied');
  const checkpoint = { ...tiny, config: { ...tiny.config, context: CONTEXT } };
  const tokenizer = await buildTokenizer(checkpoint.tokenizer);
  const parts = { checkpoint, tokenizer, runtime, cacheBytes, lookup: null };
  const engine = await ChatEngine.create(parts);
  const speak = async (messages: ChatMessage[], replies = 1, maxTokens = 8, sampling = GREEDY) => {
    const samplings = Array.from({ length: replies }, (_, seed) => ({
      ...sampling,
      maxTokens,
      seed,
    }));
    const run = engine.speak({ messages, samplings }, new AbortController().signal);
    for (;;) {
      const step = await run.next();
      if (step.done) return step.value;
    }
  };
  /** Tokens read for the prompt of a reply of one token. */
  const unread = async (messages: ChatMessage[]) => {
    const before = seen.tokens;
    await speak(messages, 1, 1);
    return seen.tokens - before;
  };
  return { engine, tokenizer, speak, unread };
}

const user = (content: string): ChatMessage => ({ role: 'user', content });
const assistant = (content: string): ChatMessage => ({ role: 'assistant', content });

function expectSame(replies: readonly SpokenReply[], anew: readonly SpokenReply[]): void {
  expect(replies.map(({ tokens }) => tokens)).toEqual(anew.map(({ tokens }) => tokens));
  replies.forEach(({ logprobs }, i) =>
    logprobs.forEach((logprob, t) =>
      expect(Math.abs(logprob - anew[i]!.logprobs[t]!)).toBeLessThan(1e-4),
    ),
  );
}

describe('random edits, branches, alternates and other conversations', () => {
  const LETTERS = 'abcdefghijklmnopqrstuvwxyz';

  /** What a person does next: a new conversation, or one that goes on from any point of an earlier one. */
  function next(random: Random, known: readonly ChatMessage[][]): ChatMessage[] {
    const from = known[random.integer(known.length)] ?? [];
    const users = from.flatMap(({ role }, i) => (role === 'user' ? [i] : []));
    const text = Array.from({ length: 1 + random.integer(30) }, () => LETTERS[random.integer(26)]);
    // Before one of its questions, or after its last reply.
    const places = [...users, from.length];
    const messages = from.slice(0, places[random.integer(places.length)]);
    const again = random.uniform() < 0.2 && users.length > 0;
    return again ? from.slice(0, users.at(-1)! + 1) : [...messages, user(text.join(''))];
  }

  test.each([
    [1e9, 1],
    [200_000, 2],
    [0, 3],
  ])('with %i bytes of cache are answered as if all were read anew', async (bytes, seed) => {
    const random = new Random(seed);
    const [kept, fresh] = [await counted(bytes), await counted(0)];
    const known: ChatMessage[][] = [];
    for (let i = 0; i < 40; i++) {
      const messages = next(random, known);
      const replies = random.uniform() < 0.3 ? 3 : 1;
      const sampling = random.uniform() < 0.5 ? GREEDY : FREE;
      const said = await kept.speak(messages, replies, 8, sampling);
      fresh.engine.setAdapter(null);
      expectSame(said, await fresh.speak(messages, replies, 8, sampling));
      for (const { text } of said) known.push([...messages, assistant(text)]);
    }
  });
});

describe('read are only new tokens', () => {
  const long = 'abcdefghijklmnopqrstuvwxyz'.repeat(3);

  test('in a second turn, however long the first was', async () => {
    const counts = [];
    for (const text of ['a', long]) {
      const { speak, unread } = await counted();
      const [reply] = await speak([user(text)]);
      counts.push(await unread([user(text), assistant(reply!.text), user('and then')]));
    }
    expect(counts[1]).toBe(counts[0]);
  });

  test('when a branch is switched to, and back', async () => {
    const { speak, unread } = await counted();
    const one = [user(long), assistant('yes'), user('one')];
    const two = [user(long), assistant('no'), user(`two ${long}`)];
    await speak(one);
    await speak(two);
    expect(await unread(one)).toBe(1);
    expect(await unread(two)).toBe(1);
    await speak([user('something else')]);
    expect(await unread(one)).toBe(1);
  });

  test('when an earlier message is edited', async () => {
    const { speak, unread } = await counted();
    const before = [user(long), assistant(long)];
    await speak([...before, user('first')]);
    const wanted = '<turn>user\n'.length + 'second<end>\n'.length + '<turn>assistant\n'.length;
    expect(await unread([...before, user('second')])).toBeLessThan(wanted);
  });

  test('after alternates, whichever is gone on from', async () => {
    const { speak, unread, tokenizer } = await counted();
    const encode = (messages: ChatMessage[]) =>
      tokenizer.encodeChat(messages, { addGenerationPrompt: true });
    const prompt = [user(long)];
    const replies = await speak(prompt, 3, 30, FREE);
    let kept = 0;
    for (const { tokens, text } of replies) {
      const messages = [...prompt, assistant(text), user('go on')];
      // What is drawn last is not read. A reply is read anew from where its text makes other tokens.
      const read = [...encode(prompt), ...tokens.slice(0, -1)];
      const wanted = encode(messages);
      const known = wanted.findIndex((id, i) => id !== read[i]);
      expect(await unread(messages)).toBe(wanted.length - known);
      kept += known - encode(prompt).length;
    }
    expect(kept).toBeGreaterThan(10);
  });
});

describe('keys and values of one adapter', () => {
  async function withAdapters() {
    const made = await counted();
    const { config } = await tinyCheckpoint('llama-tied');
    const sites = linearSites(config, 0, config.layers);
    const [first, second] = [1, 2].map((seed) => randomAdapter(sites, { rank: 2, alpha: 4, seed }));
    return { ...made, first: first!, second: second! };
  }
  const messages = [user('what'), assistant('this'), user('and that')];

  test('are never read by another, nor by the base', async () => {
    const used = await withAdapters();
    for (const adapter of [null, used.first, used.second, null, used.first]) {
      used.engine.setAdapter(adapter);
      const anew = await withAdapters();
      anew.engine.setAdapter(adapter);
      expectSame(await used.speak(messages, 2), await anew.speak(messages, 2));
      expectSame(await used.speak(messages), await anew.speak(messages));
    }
  });

  test('are gone on with to the end of a reply in which the adapter changes', async () => {
    const [used, anew] = [await withAdapters(), await withAdapters()];
    for (const { engine, first } of [used, anew]) engine.setAdapter(first);
    const [whole] = await anew.speak(messages);
    const samplings = [{ ...GREEDY, maxTokens: 8 }];
    const run = used.engine.speak({ messages, samplings }, new AbortController().signal);
    await run.next();
    used.engine.setAdapter(used.second);
    let step = await run.next();
    while (!step.done) step = await run.next();
    expectSame(step.value, [whole!]);
    anew.engine.setAdapter(anew.second);
    expectSame(await used.speak(messages), await anew.speak(messages));
  });
});
