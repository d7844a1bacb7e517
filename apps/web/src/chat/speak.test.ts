import 'fake-indexeddb/auto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RapportError, type SpeakRequest, type SpokenReply, type SpokenToken } from '@rapport/core';
import { openDatabase, type Database, type Message } from '../db/database.ts';
import {
  addPrompt,
  addReplies,
  blankConversation,
  DEFAULT_SETTINGS,
  markInterrupted,
  streamingReplies,
} from './conversation.ts';
import { speak } from './speak.ts';

let db: Database;
let prompt: Message;
beforeEach(async () => {
  db = openDatabase(`speak-${Math.random()}`);
  prompt = await addPrompt(db, blankConversation(DEFAULT_SETTINGS), null, 'Hi');
});
afterEach(() => db.delete());

const timing = { prefillMs: 1, decodeMs: 2, tokensPerSecond: 3 };
const release = { id: 'r1', adapter: 'a1' };
const sampling = { ...DEFAULT_SETTINGS.sampling, seed: 5 };

/** Stands at the model's port: says `words` in every stream, in turn. */
function port(words: string[], end: SpokenReply['finishReason'] | Error = 'stop') {
  const requests: SpeakRequest[] = [];
  return {
    requests,
    async *speak(request: SpeakRequest): AsyncGenerator<SpokenToken, SpokenReply[]> {
      requests.push(request);
      for (const [id, text] of words.entries()) {
        for (const index of request.samplings.keys()) yield { index, id, logprob: -id, text };
      }
      if (end instanceof Error) throw end;
      const tokens = words.map((_, id) => id);
      const logprobs = tokens.map((id) => -id);
      const reply = { tokens, logprobs, text: words.join(''), finishReason: end, timing };
      return request.samplings.map(() => reply);
    },
  };
}

async function say(replies: Message[], inference: ReturnType<typeof port>, stop?: string[]) {
  const texts: string[] = [];
  const voices = replies.map((message) => ({ message, sampling: { ...sampling, stop } }));
  const turns = [{ role: 'user' as const, content: 'Hi' }];
  const speech = {
    turns,
    voices,
    release,
    onText: (_id: string, text: string) => texts.push(text),
  };
  await speak(db, inference as never, speech, new AbortController().signal);
  const rows = await db.messages.bulkGet(replies.map(({ id }) => id));
  return { texts, rows: rows as Message[] };
}

test('a reply is kept with who spoke it and how', async () => {
  const replies = await addReplies(db, prompt, 1);
  const { texts, rows } = await say(replies, port(['Hel', 'lo']));
  expect(texts).toEqual(['Hel', 'Hello']);
  expect(rows[0]).toMatchObject({
    text: 'Hello',
    state: 'done',
    timing,
    provenance: { release: 'r1', adapter: 'a1', seed: 5, tokens: [0, 1], logprobs: [-0, -1] },
  });
});

test('alternates stream side by side into rows of one group', async () => {
  const replies = await addReplies(db, prompt, 3);
  const { rows } = await say(replies, port(['a', 'b']));
  expect(rows.map(({ text }) => text)).toEqual(['ab', 'ab', 'ab']);
  expect(new Set(rows.map(({ group }) => group)).size).toBe(1);
});

test('a reply from a part of the chat says how much of it was left out', async () => {
  const replies = await addReplies(db, prompt, 1);
  const cut = port(['ok']);
  const { speak: whole } = cut;
  cut.speak = async function* (request) {
    const spoken = yield* whole.call(cut, request);
    return spoken.map((reply) => ({ ...reply, droppedTurns: 2 }));
  };
  const { rows } = await say(replies, cut);
  expect(rows[0]!.droppedTurns).toBe(2);
});

test('stop sequences reach the model, and are no part of how a vote says it was sampled', async () => {
  const replies = await addReplies(db, prompt, 1);
  const inference = port(['ok']);
  const { rows } = await say(replies, inference, ['END']);
  expect(inference.requests[0]!.samplings[0]!.stop).toEqual(['END']);
  expect(rows[0]!.provenance!.sampling).toEqual(DEFAULT_SETTINGS.sampling);
});

test('an error in mid-reply keeps what was said and says what to do', async () => {
  const replies = await addReplies(db, prompt, 1);
  const error = new RapportError('x/y', 'Memory ran out.', 'Close a tab.');
  const { rows } = await say(replies, port(['Half'], error));
  expect(rows[0]).toMatchObject({
    text: 'Half',
    state: 'failed',
    error: { message: 'Memory ran out.', remedy: 'Close a tab.' },
  });
});

test.each([
  ['that met the limit gets a new allowance', 512, 512],
  ['that was cut off in its second allowance gets the rest of that', 600, 424],
])('a reply %s when continued', async (_, said, left) => {
  const [reply] = await addReplies(db, prompt, 1);
  const sofar = { release: 'r1', adapter: 'a1', sampling: DEFAULT_SETTINGS.sampling, seed: 5 };
  const provenance = { ...sofar, tokens: Array(said).fill(8), logprobs: Array(said).fill(-1) };
  const inference = port([' on']);
  await say([{ ...reply!, text: 'On and', provenance }], inference);
  expect(inference.requests[0]!.samplings[0]!.maxTokens).toBe(left);
});

test('after a crash a reply is interrupted, and goes on from its tokens when continued', async () => {
  const [reply] = await addReplies(db, prompt, 1);
  const sofar = { release: 'r1', adapter: 'a1', sampling: DEFAULT_SETTINGS.sampling, seed: 5 };
  const provenance = { ...sofar, tokens: [8, 9], logprobs: [-1, -1] };
  await db.messages.update(reply!.id, { text: 'Once upon', provenance });
  expect(await markInterrupted(db, await streamingReplies(db))).toBe(1);
  const inference = port([' a', ' time']);
  const interrupted = (await db.messages.get(reply!.id))!;
  expect(interrupted).toMatchObject({ state: 'interrupted', text: 'Once upon' });
  const { rows } = await say([interrupted], inference);
  expect(inference.requests[0]!.prefix).toEqual([8, 9]);
  expect(inference.requests[0]!.samplings[0]!.maxTokens).toBe(510);
  expect(rows[0]).toMatchObject({ text: 'Once upon a time', state: 'done' });
  expect(rows[0]!.provenance!.tokens).toEqual([8, 9, 0, 1]);
});
