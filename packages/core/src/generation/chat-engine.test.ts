import fc from 'fast-check';
import * as ort from 'onnxruntime-node';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { kernelModule } from '../../../../tests/support/kernels.ts';
import { tinyCheckpoint, type TinyName } from '../../../../tests/support/tiny.ts';
import type { Tensor } from '../graph/tensor.ts';
import { ortRuntime } from '../runtime/ort.ts';
import { createSimdRuntime } from '../runtime/simd/simd-runtime.ts';
import type { Runtime, Session } from '../runtime/runtime.ts';
import { buildTokenizer, type ChatMessage } from '../tokenizer/tokenizer.ts';
import { ChatEngine } from './chat-engine.ts';
import type { PromptLookup } from './prompt-lookup.ts';
import type { SamplingWithSeed, SpeakRequest, SpokenReply, SpokenToken } from './speech.ts';

const FREE = { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 11 };
const hi: ChatMessage[] = [{ role: 'user', content: 'hi' }];

let engine: ChatEngine;
beforeAll(async () => {
  engine = await engineOf('llama-tied');
});

type Guesser = Pick<PromptLookup, 'begin' | 'propose' | 'observe'>;

async function engineOf(
  name: TinyName,
  lookup: Guesser | null | undefined = undefined,
  onRun: (feeds: Record<string, Tensor>) => void = () => undefined,
  onMade: (made: Record<string, Tensor>) => void = () => undefined,
): Promise<ChatEngine> {
  const checkpoint = await tinyCheckpoint(name);
  const tokenizer = await buildTokenizer(checkpoint.tokenizer);
  const runtime = ortRuntime(ort);
  const load: Runtime['load'] = async (...args) => {
    const session = await runtime.load(...args);
    const run: Session['run'] = async (feeds, options) => {
      onRun(feeds);
      const made = await session.run(feeds, options);
      onMade(made);
      return made;
    };
    return { run, dispose: () => session.dispose() };
  };
  return ChatEngine.create({ checkpoint, tokenizer, runtime: { ...runtime, load }, lookup });
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

test('scores of a step are given up when all have drawn from them', async () => {
  let made = 0;
  const given: number[] = [];
  const watch = ({ logits }: Record<string, Tensor>) => {
    const step = made++;
    Object.assign(logits!.data.buffer, { transfer: () => given.push(step) });
  };
  const watched = await engineOf('llama-tied', null, undefined, watch);
  const sampling = { ...FREE, maxTokens: 6 };
  await speak({ ...one(), samplings: [sampling, sampling] }, never, undefined, watched);
  // Not those of the prompt, which a reply without a slot may wait for, and not the last.
  expect(given).toEqual(Array.from({ length: made - 2 }, (_, i) => i + 1));
  expect(given.length).toBeGreaterThan(2);
});

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

  test('that waits for room is the one it would have been with it, where outputs are lent', async () => {
    const checkpoint = await tinyCheckpoint('llama-tied');
    const tokenizer = await buildTokenizer(checkpoint.tokenizer);
    const runtime = await createSimdRuntime({ module: await kernelModule() });
    const samplings = [1, 2, 3, 4].map((seed) => ({ ...FREE, maxTokens: 12, seed }));
    const [together, inTurn] = await Promise.all(
      [1e9, 1].map(async (cacheBytes) => {
        const speaker = await ChatEngine.create({ checkpoint, tokenizer, runtime, cacheBytes });
        return (await speak({ messages: hi, samplings }, never, undefined, speaker)).replies;
      }),
    );
    const said = (replies: readonly SpokenReply[]) => replies.map(({ tokens }) => tokens);
    expect(said(inTurn!)).toEqual(said(together!));
  });

  test('that has ended is not computed any more while others go on', async () => {
    const widths: number[] = [];
    const counting = await engineOf('llama-tied', null, (feeds) => {
      if (feeds['tokens']!.shape[1] === 1) widths.push(feeds['tokens']!.shape[0]!);
    });
    const samplings = [7, 2, 12, 4].map((maxTokens, seed) => ({ ...FREE, maxTokens, seed }));
    const { replies } = await speak({ messages: hi, samplings }, never, undefined, counting);
    // Each token but the last of a reply is read, beside those of the replies that are not done.
    const lengths = replies.map(({ tokens }) => tokens.length);
    const steps = Array.from({ length: Math.max(...lengths) - 1 }, (_, step) => step + 1);
    const alive = steps.map((step) => lengths.filter((length) => length > step).length);
    expect(new Set(alive).size).toBeGreaterThan(2);
    // The last token of the prompt is read alone.
    expect(widths.slice(-alive.length)).toEqual(alive);
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

  test('ends at any of the tokens that its model was published with', async () => {
    const { tokens } = await longReply();
    const end = tokens[6]!;
    const checkpoint = await tinyCheckpoint('llama-tied');
    const generationConfig = { eos_token_id: [2, end] };
    const tokenizer = await buildTokenizer({ ...checkpoint.tokenizer, generationConfig });
    const parts = { checkpoint, tokenizer, runtime: ortRuntime(ort) };
    const ending = await ChatEngine.create(parts);
    const [reply] = (await speak(one(), never, undefined, ending)).replies;
    expect(reply!.tokens).toEqual(tokens.slice(0, tokens.indexOf(end) + 1));
    expect(reply!.finishReason).toBe('stop');
    const more = await speak({ ...one(), prefix: reply!.tokens }, never, undefined, ending);
    expect(more.replies[0]).toMatchObject({ tokens: [], finishReason: 'stop' });
  });

  test.each([
    ['greedy', { temperature: 0 }],
    ['drawn', {}],
    ['drawn with a penalty and a nucleus', { topP: 0.9, repetitionPenalty: 1.2 }],
  ])('goes on from what it had said as if it had never been cut off, %s', async (_, sampling) => {
    const whole = (await speak(one({ ...sampling, maxTokens: 12 }))).replies[0]!;
    for (const said of [1, 5, whole.tokens.length - 1]) {
      const rest = one({ ...sampling, maxTokens: 12 - said });
      const { replies } = await speak({ ...rest, prefix: whole.tokens.slice(0, said) });
      expect(replies[0]!.tokens).toEqual(whole.tokens.slice(said));
      expect(replies[0]!.finishReason).toBe(whole.finishReason);
    }
  });

  test('that was cut off after its last token says nothing more', async () => {
    const { tokens } = await longReply();
    const full = await speak({ ...one({ maxTokens: 0 }), prefix: tokens });
    expect(full.replies[0]).toMatchObject({ tokens: [], finishReason: 'length' });
    const tokenizer = await buildTokenizer((await tinyCheckpoint('llama-tied')).tokenizer);
    const ended = await speak({ ...one(), prefix: [...tokens.slice(0, 3), tokenizer.endOfTurn] });
    expect(ended.replies[0]).toMatchObject({ tokens: [], finishReason: 'stop' });
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

  test('is read from the same turn on when its reply goes on', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 9 });
    const property = fc.property(
      sizes,
      fc.integer({ min: 1, max: 40 }),
      fc.nat(),
      (lengths, maxTokens, said) => {
        const turns = lengths.flatMap((size): ChatMessage[] => [
          { role: 'user', content: 'a'.repeat(size) },
          { role: 'assistant', content: 'b'.repeat(size) },
        ]);
        const promptFor = (left: number, prefix: number[]) =>
          engine.prompt({
            messages: turns.slice(0, -1),
            samplings: [{ ...FREE, maxTokens: left }],
            prefix,
          });
        const begun = promptFor(maxTokens, []);
        const before = said % Math.min(maxTokens, 64 - begun.tokens.length);
        const prefix = Array.from({ length: before }, () => 9);
        expect(promptFor(maxTokens - before, prefix)).toEqual(begun);
      },
    );
    fc.assert(property);
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

describe('guesses', () => {
  const names: TinyName[] = ['llama-tied', 'gpt2'];

  /** Guesses the next three tokens of a known reply, as `change` makes them; counts steps and right guesses. */
  function oracle(reply: readonly number[], change: (id: number, i: number) => number) {
    const seen = { steps: 0, right: 0 };
    const guesser: Guesser = {
      begin: () => undefined,
      propose(context, room) {
        let said = Math.min(reply.length, context.length);
        while (said > 0 && reply.slice(0, said).some((id, i) => id !== context.at(i - said)))
          said--;
        return reply.slice(said, said + Math.min(3, room)).map(change);
      },
      observe(_, right) {
        seen.steps++;
        seen.right += right;
      },
    };
    return { guesser, seen };
  }

  const greedy = { temperature: 0, maxTokens: 20 };
  const sampled = { temperature: 1, topP: 0.9, maxTokens: 20 };

  describe.each(names)('of %s', (name) => {
    test.each([
      ['right', greedy, (id: number) => id, 14],
      ['right', sampled, (id: number) => id, 14],
      ['wrong at the second', sampled, (id: number, i: number) => (i === 1 ? id + 1 : id), 7],
      ['wrong', greedy, (id: number) => id + 1, 0],
      ['wrong', sampled, (id: number) => id + 1, 0],
    ] as const)('that are %s leave the reply as it is, %o', async (_, sampling, change, right) => {
      const plain = await engineOf(name, null);
      const expected = (await speak(one(sampling), never, undefined, plain)).replies[0]!;
      const { guesser, seen } = oracle(expected.tokens, change);
      const guessing = await engineOf(name, guesser);
      const { tokens, replies } = await speak(one(sampling), never, undefined, guessing);
      expect(replies[0]!.tokens).toEqual(expected.tokens);
      expect(tokens.map(({ id }) => id)).toEqual(expected.tokens);
      replies[0]!.logprobs.forEach((logprob, i) => {
        expect(Math.abs(logprob - expected.logprobs[i]!)).toBeLessThan(1e-4);
      });
      if (expected.tokens.length === 20) {
        expect(seen.right).toBeGreaterThanOrEqual(right - 1);
        expect(seen.steps).toBe(19 - seen.right);
      }
    });

    test('leave no trace in the next turn', async () => {
      const turn = async (speaker: ChatEngine) => {
        const first = (await speak(one(greedy), never, undefined, speaker)).replies[0]!;
        const messages: ChatMessage[] = [
          ...hi,
          { role: 'assistant', content: first.text },
          { role: 'user', content: 'go on' },
        ];
        const request = { messages, samplings: [{ ...FREE, ...greedy, maxTokens: 8 }] };
        return (await speak(request, never, undefined, speaker)).replies[0]!.tokens;
      };
      const expected = (await speak(one(greedy))).replies[0]!.tokens;
      const { guesser } = oracle(expected, (id, i) => (i === 1 ? id + 1 : id));
      expect(await turn(await engineOf(name, guesser))).toEqual(
        await turn(await engineOf(name, null)),
      );
    });
  });

  test.each(names)(
    'of %s that were wrong are taken back also while the clock stands',
    async (name) => {
      const sampling = { temperature: 0, maxTokens: 20 };
      const plain = await engineOf(name, null);
      const expected = (await speak(one(sampling), never, undefined, plain)).replies[0]!.tokens;
      const guessing = await engineOf(name, {
        begin: () => undefined,
        propose: (_, room) => [5, 6, 7].slice(0, room),
        observe: () => undefined,
      });
      const clock = vi.spyOn(performance, 'now').mockReturnValue(1);
      const said = speak(one(sampling), never, undefined, guessing);
      const { replies } = await said.finally(() => clock.mockRestore());
      expect(replies[0]!.tokens).toEqual(expected);
    },
  );

  test('that were read before a stop are not said', async () => {
    const plain = await engineOf('llama-tied', null);
    const expected = (await speak(one(), never, undefined, plain)).replies[0]!;
    const guessing = await engineOf('llama-tied', oracle(expected.tokens, (id) => id).guesser);
    const stop = new AbortController();
    let seen = 0;
    const { replies } = await speak(
      one(),
      stop.signal,
      () => ++seen === 3 && stop.abort(),
      guessing,
    );
    expect(replies[0]!.tokens).toEqual(expected.tokens.slice(0, 3));
    expect((await speak(one(), never, undefined, guessing)).replies[0]!.tokens).toEqual(
      expected.tokens,
    );
  });

  test('do not change how often a reply is drawn (chi-square over 16 replies of two tokens)', async () => {
    // Always guesses the likeliest second token of one of the first, so that it is right now and then.
    const plain = await engineOf('llama-tied', null);
    const prompt = plain.prompt(one()).tokens;
    const top = async (tokens: readonly number[]) => {
      const logprobs = await plain.next(tokens);
      const ids = [...logprobs.keys()].sort((a, b) => logprobs[b]! - logprobs[a]!).slice(0, 4);
      const shares = ids.map((id) => Math.exp(logprobs[id]!));
      const whole = shares.reduce((a, b) => a + b);
      return ids.map((id, i) => [id, shares[i]! / whole] as const);
    };
    const expected = new Map<string, number>();
    for (const [a, p] of await top(prompt)) {
      for (const [b, q] of await top([...prompt, a])) expected.set(`${a},${b}`, p * q);
    }
    const guess = Number([...expected.keys()][0]!.split(',')[1]);
    let right = 0;
    const guessing = await engineOf('llama-tied', {
      begin: () => undefined,
      propose: () => [guess],
      observe: (_, count) => void (right += count),
    });
    const draws = 1500;
    const seen = new Map<string, number>();
    for (let seed = 0; seed < draws; seed++) {
      const request = one({ temperature: 1, topK: 4, maxTokens: 3, seed });
      const { tokens } = (await speak(request, never, undefined, guessing)).replies[0]!;
      const pair = tokens.slice(0, 2).join();
      seen.set(pair, (seen.get(pair) ?? 0) + 1);
    }
    expect(right).toBeGreaterThan(50);
    let chiSquare = 0;
    for (const [pair, share] of expected) {
      chiSquare += ((seen.get(pair) ?? 0) - draws * share) ** 2 / (draws * share);
    }
    expect([...seen.keys()].every((pair) => expected.has(pair))).toBe(true);
    // The 99.9th percentile for 15 degrees of freedom.
    expect(chiSquare).toBeLessThan(37.7);
  });
});
