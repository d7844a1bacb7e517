import { describe, expect, it } from 'vitest';
import { Random } from '@rapport/core';
import { scoreOf, thumbsUp } from './annotator.ts';
import type { Annotator } from './annotator.ts';
import { arena } from './arena.ts';
import { noisyRanks, rankingsBy } from './simulate.ts';
import type { Ranking } from '../train/rankings.ts';
import { comparisonsOf, lengthControlled, preference, winRate } from './win-rate.ts';

describe('the win rate', () => {
  it('is the share of cross pairs won, ties half, with an interval over prompts', () => {
    const random = new Random(1);
    const ours = Array.from({ length: 40 }, () => [1 + random.normal(), 1 + random.normal()]);
    const theirs = Array.from({ length: 40 }, () => [random.normal(), random.normal()]);
    const { winRate: rate, low, high } = winRate(ours, theirs, random);
    // P(N(1, 2) > 0) = Φ(1/√2) = 0.76
    expect(rate).toBeGreaterThan(0.66);
    expect(rate).toBeLessThan(0.86);
    expect(low).toBeLessThan(rate);
    expect(high).toBeGreaterThan(rate);
    expect(winRate([[1, 0]], [[0, 1]], random).winRate).toBe(0.5);
  });

  it('by preference says the same of the same replies with less chance in it', () => {
    const random = new Random(2);
    const scores = (shift: number) => Array.from({ length: 400 }, () => [shift + random.normal()]);
    const [ours, theirs] = [scores(0.5), scores(0)];
    const outright = winRate(ours, theirs, new Random(3));
    const soft = winRate(ours, theirs, new Random(3), { win: preference });
    // In deviations from a coin.
    const sure = ({ winRate: rate, low, high }: typeof soft) => (rate - 0.5) / (high - low);
    expect(sure(soft)).toBeGreaterThan(1.1 * sure(outright));
    expect(preference(2, 0) + preference(0, 2)).toBeCloseTo(1, 12);
    expect(preference(Math.log(3), 0)).toBeCloseTo(0.75, 12);
    const wide = winRate(ours, theirs, new Random(3), { tail: 0.005 });
    expect(wide.low).toBeLessThan(outright.low);
    expect(wide.high).toBeGreaterThan(outright.high);
  });
});

describe('the win rate at equal length', () => {
  const random = new Random(5);
  const reply = (score: number, tokens: number) => ({ score, tokens });
  const compare = (ours: ReturnType<typeof reply>[][], theirs: ReturnType<typeof reply>[][]) =>
    lengthControlled(
      comparisonsOf(ours, theirs, { score: (r) => r.score, length: (r) => r.tokens }),
      new Random(1),
    );

  it('is one half where only length wins, however much longer one side is', () => {
    const one = (longer: number) => {
      const tokens = 100 + longer + 40 * random.normal();
      return reply(tokens + 40 * random.normal(), tokens);
    };
    const ours = Array.from({ length: 300 }, () => [one(50)]);
    const theirs = ours.map(() => [one(0)]);
    expect(winRate(scores(ours), scores(theirs), new Random(1)).winRate).toBeGreaterThan(0.65);
    const { winRate: rate, low, high } = compare(ours, theirs);
    expect(Math.abs(rate - 0.5)).toBeLessThan(0.1);
    expect(low).toBeLessThan(0.5);
    expect(high).toBeGreaterThan(0.5);
  });

  it('is the win rate where length says nothing', () => {
    const ours = Array.from({ length: 400 }, () => [
      reply(random.normal() + 0.7, 100 + random.normal()),
    ]);
    const theirs = ours.map(() => [reply(random.normal(), 100 + random.normal())]);
    const plain = winRate(scores(ours), scores(theirs), new Random(1)).winRate;
    expect(compare(ours, theirs).winRate).toBeCloseTo(plain, 2);
  });

  it('of replies that are all of one length is the win rate', () => {
    const side = (...list: number[]) => list.map((score) => [reply(score, 10)]);
    expect(compare(side(1, 0, 1, 0), side(0, 1, 0, 0)).winRate).toBeCloseTo(0.625, 2);
  });
});

const scores = (side: { score: number }[][]) => side.map((list) => list.map(({ score }) => score));

describe('the arena', () => {
  it('rates by odds: a win rate of 10 to 1 is 400 points', () => {
    const wins = Array.from({ length: 1100 }, (_, p) => [p % 11 === 0 ? 0 : 2]);
    const { ratings } = arena(
      new Map([
        ['b', wins],
        ['base', wins.map(() => [1])],
      ]),
    );
    expect(ratings[0]!.rating - ratings[1]!.rating).toBeCloseTo(400, -1);
    expect(ratings[0]!.low).toBeGreaterThan(ratings[1]!.high);
  });
});

describe('a simulated person', () => {
  it('without noise ranks by score and keeps ties', () => {
    expect(noisyRanks([3, 1, 3, 2], 0, new Random(1))).toEqual([1, 4, 1, 3]);
  });
  it('with noise errs at that rate', () => {
    const random = new Random(1);
    const wrong = Array.from({ length: 4000 }, () => noisyRanks([1, 0], 0.1, random)[0] === 2);
    expect(wrong.filter(Boolean).length / 4000).toBeCloseTo(0.1, 1);
  });
  it('asked for pairs errs at that rate in each of them', () => {
    const replies = [0, 1, 2, 3].map((id) => ({ prompt: [9], tokens: [id], ended: true }));
    const voted = Array.from({ length: 2000 }, () => replies);
    const scores = voted.map(() => [3, 2, 1, 0]);
    const noisy = (noise: number) =>
      rankingsBy(scores, voted, { noise, pairs: 10_000 }, new Random(7));
    // Replies are numbered by the person's order.
    const isWrong = ({ replies: [a, b], ranks: [first, second] }: Ranking) =>
      a![0]! < b![0]! !== first! < second!;
    expect(noisy(0.1)).toHaveLength(10_000);
    expect(Math.abs(noisy(0.1).filter(isWrong).length / 10_000 - 0.1)).toBeLessThan(0.01);
    expect(noisy(0).filter(isWrong)).toEqual([]);
  });
  it.each([
    ['most replies are as good as the best', [1, 1, 1, 1, 0, 0], 4],
    ['most replies are as bad as the worst', [0, 0, 0, 0, 1, 2], 2],
    ['no two are alike', [6, 1, 5, 2, 4, 3], 3],
  ])('gives both thumbs where %s', (_, scores, ups) => {
    expect(scores.filter(thumbsUp(scores))).toHaveLength(ups);
  });
  it.each([
    ['NaN', () => NaN],
    ['undefined', () => undefined],
    ['[object Promise]', async () => Promise.resolve(1)],
    ['-Infinity', () => -Infinity],
  ])('that answers %s is refused', (word, annotator) => {
    expect(() => scoreOf(annotator as unknown as Annotator, 'ask', 'say')).toThrow(
      expect.objectContaining({
        code: 'simulate/bad-score',
        message: expect.stringContaining(`answered ${word} to the reply "say"`),
      }),
    );
  });
});
