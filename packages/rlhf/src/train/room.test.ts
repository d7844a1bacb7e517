// Cutting, by counting: the tokens are letters.
import { describe, expect, it } from 'vitest';
import type { ChatMessage, Judgement, Tokenizer } from '@rapport/core';
import { cutTo, fitted, partsOf, shortened } from './room.ts';

const room = { budgetTokens: 40, longestRow: 12, longestPrompt: 8 };
const tokenizer = {
  encodeChat: (messages: ChatMessage[]) => messages.flatMap(({ content }) => [...content]),
} as unknown as Tokenizer;

const judged = (...turns: [ChatMessage['role'], string][]) =>
  ({
    type: 'vote',
    body: { prompt: turns.map(([role, content]) => ({ role, content })), value: 1 },
  }) as Judgement;
const left = (judgement: Judgement) =>
  shortened(judgement, room, tokenizer).body.prompt.map(({ content }) => content);

describe('a conversation', () => {
  it('loses its oldest turns until it fits, and keeps what the system was told', () => {
    expect(left(judged(['user', 'aaaa'], ['assistant', 'bbbb']))).toEqual(['aaaa', 'bbbb']);
    expect(left(judged(['user', 'aaaa'], ['assistant', 'bbbb'], ['user', 'c']))).toEqual([
      'bbbb',
      'c',
    ]);
    expect(left(judged(['system', 'ss'], ['user', 'aaaa'], ['user', 'bbbb']))).toEqual([
      'ss',
      'bbbb',
    ]);
  });

  it('keeps its last turn however long it is', () => {
    expect(left(judged(['user', 'a'], ['user', 'b'.repeat(99)]))).toEqual(['b'.repeat(99)]);
    expect(left(judged(['system', 's'], ['user', 'b'.repeat(99)]))).toEqual(['s', 'b'.repeat(99)]);
  });
});

describe('a row', () => {
  const ids = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i);

  it("keeps its prompt's end and its reply's beginning, and whatever else it has", () => {
    const row = { prompt: ids(20), reply: ids(20, 100), good: true };
    expect(cutTo(room)(row)).toEqual({ prompt: ids(8, 12), reply: ids(4, 100), good: true });
    const short = { prompt: ids(3), reply: ids(9) };
    expect(cutTo(room)(short)).toEqual(short);
  });

  it('is in a ranking with others, or with its neighbours where all are too much for one run', () => {
    const ranking = (replies: number) => ({
      prompt: ids(10),
      replies: Array.from({ length: replies }, (_, i) => ids(9, 100 * i)),
      ranks: [2, 1, 4, 3].slice(0, replies),
    });
    const cut = (i: number) => ids(4, 100 * i);
    expect(fitted(ranking(3), room)).toEqual([
      { prompt: ids(8, 2), replies: [cut(0), cut(1), cut(2)], ranks: [2, 1, 4] },
    ]);
    expect(fitted(ranking(4), room)).toEqual([
      { prompt: ids(8, 2), replies: [cut(1), cut(0)], ranks: [1, 2] },
      { prompt: ids(8, 2), replies: [cut(0), cut(3)], ranks: [2, 3] },
      { prompt: ids(8, 2), replies: [cut(3), cut(2)], ranks: [3, 4] },
    ]);
  });

  it('is with no neighbour of the same rank', () => {
    expect(partsOf([100, 90, 80, 70], [1, 1, 2, 2], 399)).toEqual([[1, 2]]);
    expect(partsOf([300, 300], [1, 2], 399)).toEqual([[0, 1]]);
  });
});
