import { describe, expect, it } from 'vitest';
import { withoutUnequalEnds } from './rankings.ts';

const END = 2;

describe('ends of ranked replies', () => {
  it('stay where every reply ended by itself', () => {
    const ranking = {
      prompt: [5],
      replies: [
        [7, END],
        [8, 9, END],
      ],
      ranks: [1, 2],
    };
    expect(withoutUnequalEnds(ranking, END)).toEqual(ranking);
  });

  it('go where one was cut, so that not ending is never what was preferred', () => {
    const ranking = {
      prompt: [5],
      replies: [
        [7, END],
        [8, 9, 9],
        [6, END],
      ],
      ranks: [2, 1, 3],
    };
    expect(withoutUnequalEnds(ranking, END).replies).toEqual([[7], [8, 9, 9], [6]]);
  });

  it('stay where the reply is nothing else', () => {
    const ranking = { prompt: [5], replies: [[END], [8, 9]], ranks: [2, 1] };
    expect(withoutUnequalEnds(ranking, END).replies).toEqual([[END], [8, 9]]);
  });
});
