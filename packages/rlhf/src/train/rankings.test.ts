import { describe, expect, it } from 'vitest';
import { thumbGroups } from './kto.ts';
import { withoutPunishedEnds, withoutUnequalEnds } from './rankings.ts';

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

describe('ends of single replies', () => {
  const thumb = (good: boolean, ended: boolean) => ({
    reply: ended ? [7, 8, END] : [7, 8, 9],
    good,
  });
  const endsOf = (thumbs: readonly { reply: readonly number[]; good: boolean }[], kind: boolean) =>
    thumbs.filter(({ good, reply }) => good === kind && reply.at(-1) === END).length;

  it('go from bad ones until both kinds end alike', () => {
    const good = [true, false, false, false].map((ended) => thumb(true, ended));
    const bad = [true, true, false, true, true, true, true, true].map((ended) =>
      thumb(false, ended),
    );
    const equal = withoutPunishedEnds([...good, ...bad], END);
    // A quarter of the good ones ended: so do two of the eight bad ones, an early and a late one.
    expect(endsOf(equal, true)).toBe(1);
    expect(equal.slice(4).map(({ reply }) => reply.length)).toEqual([2, 2, 3, 2, 3, 2, 2, 3]);
    expect(endsOf(equal, false)).toBe(2);
  });

  it('stay where good ones end as often, and where there is nothing else', () => {
    const praised = [thumb(true, true), thumb(false, false), thumb(false, true)];
    expect(withoutPunishedEnds(praised, END)).toBe(praised);
    const bare = [thumb(true, false), { reply: [END], good: false }];
    expect(withoutPunishedEnds(bare, END)).toEqual(bare);
  });
});

describe('thumbs in groups', () => {
  it('have both kinds in each, however few there are of one', () => {
    const thumbs = Array.from({ length: 30 }, (_, i) => ({ good: i % 10 === 0, i }));
    const groups = thumbGroups(thumbs);
    expect(groups.map((group) => group.length)).toEqual([10, 10, 10]);
    for (const group of groups) expect(group.filter(({ good }) => good)).toHaveLength(1);
    expect(groups.flat().sort((a, b) => a.i - b.i)).toEqual(thumbs);
    expect(thumbGroups(thumbs.slice(0, 10)).map((group) => group.length)).toEqual([10]);
    expect(thumbGroups(thumbs.filter(({ good }) => good))).toEqual([]);
  });
});
