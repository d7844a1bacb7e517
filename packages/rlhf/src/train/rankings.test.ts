import { describe, expect, it } from 'vitest';
import { thumbGroups } from './kto.ts';
import { withFairEnds, withoutCommonEnds } from './rankings.ts';

const END = 2;

describe('ends of ranked replies', () => {
  const ranking = (ranks: number[], ...replies: number[][]) => ({ prompt: [5], replies, ranks });

  it('stay where every reply ended by itself', () => {
    const whole = [ranking([1, 2], [7, END], [8, 9, END])];
    expect(withFairEnds(whole, END)).toEqual(whole);
  });

  it('go where one was cut, so that not ending is never what was preferred', () => {
    const [cut, whole] = withFairEnds(
      [ranking([2, 1, 3], [7, END], [8, 9, 9], [6, END]), ranking([1, 2], [7, END], [8, 9, END])],
      END,
    );
    expect(cut).toEqual(ranking([2, 1, 3], [7], [8, 9, 9], [6]));
    expect(whole!.replies).toEqual([
      [7, END],
      [8, 9, END],
    ]);
  });

  it('count for the better reply alone where better ones end more often', () => {
    // All better replies of all pairs ended, and a third and a half of the worse ones.
    const short = ranking([1, 2, 3], [7, END], [6, END], [8, 9, 9]);
    const long = ranking([1, 2, 2], [4, END], [3, 3, END], [8, 8, 9]);
    const [first, second] = withFairEnds([short, long], END);
    const kept = 1 - (1 / 3 + 1 / 2) / 2;
    const praised = { better: expect.closeTo(kept, 12) as number, worse: 0 };
    const other = { better: 1, worse: 1 };
    expect(first).toEqual({ ...short, ends: [praised, praised, other] });
    expect(second!.ends).toEqual([praised, praised, other]);
  });

  it('stay where the reply is nothing else', () => {
    const bare = ranking([2, 1], [END], [8, 9]);
    expect(withFairEnds([bare], END)).toEqual([bare]);
  });
});

describe('ends of single replies', () => {
  const thumb = (good: boolean, ended: boolean) => ({
    reply: ended ? [7, 8, END] : [7, 8, 9],
    good,
  });
  const endsOf = (thumbs: readonly { reply: readonly number[]; good: boolean }[], kind: boolean) =>
    thumbs.filter(({ good, reply }) => good === kind && reply.at(-1) === END).length;

  it('go from both kinds where bad ones end more often', () => {
    const good = [true, false, false, false].map((ended) => thumb(true, ended));
    const bad = [true, true, false, true].map((ended) => thumb(false, ended));
    const equal = withoutCommonEnds([...good, ...bad], END);
    expect(equal.map(({ reply }) => reply.length)).toEqual([2, 3, 3, 3, 2, 2, 3, 2]);
    expect(endsOf(equal, true) + endsOf(equal, false)).toBe(0);
  });

  it('stay where good ones have more, an early and a late one', () => {
    // All of four good ones ended and half of the bad ones: the good ones keep every second end.
    const good = [true, true, true, true].map((ended) => thumb(true, ended));
    const bad = [true, false].map((ended) => thumb(false, ended));
    const left = withoutCommonEnds([...good, ...bad], END);
    expect(left.map(({ reply }) => reply.length)).toEqual([2, 3, 2, 3, 2, 3]);
    expect([endsOf(left, true), endsOf(left, false)]).toEqual([2, 0]);
    const praised = [thumb(true, true), thumb(false, false)];
    expect(withoutCommonEnds(praised, END)).toEqual(praised);
  });

  it('stay where there is nothing else', () => {
    const bare = [thumb(true, false), { reply: [END], good: false }];
    expect(withoutCommonEnds(bare, END)).toEqual(bare);
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
