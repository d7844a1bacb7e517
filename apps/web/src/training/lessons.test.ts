import { expect, test } from 'vitest';
import type { Judgement } from '@rapport/core';
import { lessonsOf, NEEDED } from './lessons.ts';

const provenance = {
  release: 'base',
  adapter: null,
  sampling: { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, maxTokens: 9 },
  seed: 0,
  tokens: [],
  logprobs: [],
};
const reply = (text: string) => ({ text, provenance });
const prompt = (content: string) => [{ role: 'user' as const, content }];

const ranking = (i: number): Judgement => ({
  type: 'ranking',
  body: { prompt: prompt(`p${i}`), replies: [reply('a'), reply('b')], ranks: [1, 2] },
});
const vote = (i: number, value: 1 | -1): Judgement => ({
  type: 'vote',
  body: { prompt: prompt(`v${i}`), reply: reply(`r${i}`), value },
});
const many = <T>(count: number, make: (i: number) => T): T[] =>
  Array.from({ length: count }, (_, i) => make(i));

test('too few judgements teach nothing, and it is said how many are missing', () => {
  expect(lessonsOf([])).toMatchObject({ method: null, missing: NEEDED });
  const some = many(13, (i) => vote(i, i % 2 ? 1 : -1));
  expect(lessonsOf(some)).toMatchObject({ method: null, judgements: 13, missing: NEEDED - 13 });
});

test('comparisons teach by DPO, thumbs of both kinds by KTO', () => {
  expect(lessonsOf(many(NEEDED, ranking)).method).toBe('dpo');
  expect(lessonsOf(many(NEEDED, (i) => vote(i, i % 2 ? 1 : -1))).method).toBe('kto');
});

test('thumbs of one kind teach nothing: one of the other is missing', () => {
  expect(lessonsOf(many(30, (i) => vote(i, 1)))).toMatchObject({ method: null, missing: 1 });
});

test('a fifth of the prompts is kept apart whole, and stays apart when more are judged', () => {
  const before = many(40, ranking);
  const { lessons, heldOut } = lessonsOf([...before, ...before.slice(0, 10)]);
  const prompts = (all: Judgement[]) => new Set(all.map(({ body }) => body.prompt[0]!.content));
  expect(prompts(heldOut).size).toBe(8);
  expect([...prompts(heldOut)].filter((one) => prompts(lessons).has(one))).toEqual([]);
  const shuffled = lessonsOf([...before].reverse());
  expect(prompts(shuffled.heldOut)).toEqual(prompts(heldOut));
});

test('votes that compare nothing are left out of what DPO learns from', () => {
  const { lessons, heldOut } = lessonsOf([...many(20, ranking), ...many(5, (i) => vote(i, 1))]);
  expect([...lessons, ...heldOut].every(({ type }) => type === 'ranking')).toBe(true);
});
