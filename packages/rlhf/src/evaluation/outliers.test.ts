import { describe, expect, it } from 'vitest';
import { Random } from '@rapport/core';
import { outliers, type SignedRanking } from './outliers.ts';

const SIZE = 6;

/** Replies with random features; a taste is a direction among them, a little noise is added. */
function rankingsBy(
  annotator: string,
  count: number,
  sign: 1 | -1 | 0,
  random: Random,
): SignedRanking[] {
  return Array.from({ length: count }, () => {
    const replies = Array.from({ length: 4 }, () => ({
      mean: Float64Array.from({ length: SIZE }, () => random.normal()),
      last: Float64Array.from({ length: SIZE }, () => random.normal()),
      tokens: 2,
    }));
    const likes = replies.map(({ mean }) =>
      sign === 0 ? random.normal() : sign * (mean[0]! + mean[1]! + random.normal() / 2),
    );
    return {
      annotator,
      replies,
      ranks: likes.map((x) => 1 + likes.filter((other) => other > x).length),
    };
  });
}

describe('outliers', () => {
  it('is who ranks the other way round, however many votes that is', () => {
    const random = new Random(1);
    const rankings = [
      ...['a', 'b', 'c'].flatMap((name) => rankingsBy(name, 20, 1, random)),
      ...rankingsBy('loud', 100, -1, random),
    ];
    expect(outliers(rankings, 3)).toEqual(['loud']);
  });

  it('is not who ranks at random, nor who ranked too little to tell', () => {
    const random = new Random(2);
    const rankings = [
      ...['a', 'b', 'c'].flatMap((name) => rankingsBy(name, 20, 1, random)),
      ...rankingsBy('monkey', 40, 0, random),
      ...rankingsBy('guest', 6, -1, random),
    ];
    expect(outliers(rankings, 3)).toEqual([]);
  });

  it('is nobody of two: neither is the rest', () => {
    const random = new Random(3);
    const two = [...rankingsBy('a', 30, 1, random), ...rankingsBy('b', 30, -1, random)];
    expect(outliers(two, 3)).toEqual([]);
  });
});
