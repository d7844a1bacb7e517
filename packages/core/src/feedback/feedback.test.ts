import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { depthOf, readEvent, type Provenance } from './events.ts';
import { rankingPairs } from './pairs.ts';
import { judgementOfRow, ktoRows, trlRows, type Judgement } from './preference.ts';

const id = '0190a000-0000-7000-8000-000000000001';
const provenance: Provenance = {
  release: 'base',
  adapter: null,
  sampling: { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, maxTokens: 64 },
  seed: 7,
  tokens: [1, 2],
  logprobs: [-0.5, -1],
};
const prompt = [{ role: 'user' as const, content: 'Hello' }];
const reply = (text: string) => ({ text, provenance });
const vote = {
  id,
  type: 'vote',
  v: 1,
  at: 1,
  release: 'base',
  consent: true,
  body: { prompt, reply: reply('Hi'), value: 1 },
};
const ranking = {
  ...vote,
  type: 'ranking',
  body: { prompt, replies: ['a', 'b', 'c', 'd'].map(reply), ranks: [1, 2, 2, 4] },
};
const codeOf = (raw: unknown) => {
  const read = readEvent(raw);
  return 'result' in read ? (read.result.code ?? read.result.status) : 'ok';
};

describe('reading an event', () => {
  test('a vote and a ranking of the contract are understood', () => {
    expect(readEvent(vote)).toEqual({ event: vote });
    expect(readEvent(ranking)).toEqual({ event: ranking });
  });

  test.each([
    ['a string instead of an event', 'vote', 'invalid'],
    ['no id', { ...vote, id: undefined }, 'bad_id'],
    ['an unknown type', { ...vote, type: '__proto__' }, 'unknown_type'],
    ['no consent', { ...vote, consent: false }, 'no_consent'],
    [
      'a thumb that is neither up nor down',
      { ...vote, body: { ...vote.body, value: 0 } },
      'invalid:body.value',
    ],
    [
      'an infinite log-prob',
      {
        ...vote,
        body: {
          ...vote.body,
          reply: { text: '', provenance: { ...provenance, logprobs: [-Infinity, -1] } },
        },
      },
      'invalid:body.reply.provenance.logprobs.0',
    ],
    [
      'fewer ranks than replies',
      { ...ranking, body: { ...ranking.body, ranks: [1, 2] } },
      'invalid:body',
    ],
    ['a newer client', { ...vote, v: 2, body: 'whatever' }, 'newer_client'],
  ])('%s is answered by its code', (_what, raw, code) => {
    expect(codeOf(raw)).toBe(code);
  });

  test('erasing needs no consent', () => {
    expect(codeOf({ ...vote, type: 'erase', consent: false, supersedes: id, body: {} })).toBe('ok');
  });

  test('nesting is refused before it is walked', () => {
    let deep: unknown = 1;
    for (let i = 0; i < 5_000; i++) deep = [deep];
    expect(codeOf({ ...vote, body: deep })).toBe('too_deep');
    expect(depthOf({ a: [1] }, 9)).toBe(2);
  });

  test('no input makes it throw', () => {
    fc.assert(fc.property(fc.jsonValue(), (raw) => void readEvent(raw)));
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(...Object.keys(vote)), (value, key) => {
        readEvent({ ...vote, [key]: value });
      }),
    );
  });
});

test('a ranking decides every pair that is not tied', () => {
  expect(rankingPairs([1, 2, 2, 4])).toEqual([
    [0, 1],
    [0, 2],
    [0, 3],
    [1, 3],
    [2, 3],
  ]);
  expect(rankingPairs([1, 1])).toEqual([]);
});

describe('training rows', () => {
  const judgements = [
    { type: 'vote', body: { ...vote.body, value: 1 } },
    { type: 'vote', body: { ...vote.body, reply: reply('No'), value: -1 } },
    {
      type: 'ranking',
      body: { ...ranking.body, replies: [reply('x'), reply('y')], ranks: [2, 1] },
    },
  ] as Judgement[];
  const said = (content: string) => [{ role: 'assistant', content }];

  test('thumbs on one prompt become a pair, rankings their pairs', () => {
    expect(trlRows(judgements)).toEqual([
      { prompt, chosen: said('y'), rejected: said('x') },
      { prompt, chosen: said('Hi'), rejected: said('No') },
    ]);
  });

  test('KTO gets thumbs, and the ends of a ranking', () => {
    expect(
      ktoRows(judgements).map(({ completion, label }) => [completion[0]!.content, label]),
    ).toEqual([
      ['Hi', true],
      ['No', false],
      ['x', false],
      ['y', true],
    ]);
  });

  test('rows of other tools come in, and are valid events then', () => {
    const pair = judgementOfRow({ prompt: 'Q', chosen: 'good', rejected: 'bad' });
    expect(trlRows([pair])[0]!.chosen).toEqual(said('good'));
    expect(codeOf({ ...vote, ...pair })).toBe('ok');
    const thumb = judgementOfRow({ prompt: 'Q', completion: 'good', label: false });
    expect(ktoRows([thumb])[0]!.label).toBe(false);
    expect(() => judgementOfRow({ prompt: 1 })).toThrow(
      expect.objectContaining({ code: 'feedback/bad-row' }),
    );
  });
});
