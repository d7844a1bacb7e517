import { describe, expect, it } from 'vitest';
import { Random } from '@rapport/core';
import { scoreOf, thumbsUp } from './annotator.ts';
import type { Annotator } from './annotator.ts';
import { arena, duelsOf, rateByRankings } from './arena.ts';
import type { RankedReply } from './arena.ts';
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

describe('the arena of people', () => {
  const reply = (release: string, rank: number, length = 10): RankedReply => ({
    release,
    rank,
    length,
  });
  const ratingsBy = (rankings: RankedReply[][]) =>
    new Map(rateByRankings(rankings).map((each) => [each.release, each]));

  it('rates by odds, whichever release stands first in a ranking', () => {
    const rankings = Array.from({ length: 1100 }, (_, p) => {
      const [one, other] = p % 11 === 0 ? [2, 1] : [1, 2];
      const replies = [reply('new', one!), reply('base', other!)];
      return p % 2 ? replies : replies.reverse();
    });
    const ratings = ratingsBy(rankings);
    expect(ratings.get('new')!.rating - ratings.get('base')!.rating).toBeCloseTo(400, -1);
    const [duel] = duelsOf(rankings);
    expect(duel).toMatchObject({ releases: ['base', 'new'], rankings: 1100 });
    expect(duel!.winRate).toBeCloseTo(1 / 11, 6);
  });

  it('takes ties for halves, and rankings of one release alone for nothing', () => {
    const tied = [reply('a', 1), reply('b', 1)];
    const alone = [reply('c', 1), reply('c', 2)];
    const ratings = ratingsBy([tied, alone]);
    expect([...ratings.keys()]).toEqual(['a', 'b']);
    expect(ratings.get('a')!.rating).toBeCloseTo(1000, 6);
    expect([rateByRankings([alone]), duelsOf([alone])]).toEqual([[], []]);
  });

  it('relates releases that never met through one that both met', () => {
    const rankings = Array.from({ length: 60 }, (_, p) => [
      [reply('a', p % 3 ? 1 : 2), reply('b', p % 3 ? 2 : 1)],
      [reply('b', p % 3 ? 1 : 2), reply('c', p % 3 ? 2 : 1)],
    ]).flat();
    const ratings = ratingsBy(rankings);
    const lead = (one: string, other: string) =>
      ratings.get(one)!.rating - ratings.get(other)!.rating;
    expect(Math.abs(lead('a', 'b') - 400 * Math.log10(2))).toBeLessThan(10);
    expect(lead('a', 'c')).toBeGreaterThan(1.9 * lead('a', 'b'));
  });

  it('has an interval that holds the truth 95 times of 100', () => {
    const truth = 400 * Math.log10(0.65 / 0.35);
    const held = Array.from({ length: 100 }, (_, seed) => {
      const random = new Random(seed);
      const rankings = Array.from({ length: 120 }, () => {
        const first = random.uniform() < 0.65;
        return [reply('a', first ? 1 : 2), reply('b', first ? 2 : 1)];
      });
      const { low, high } = ratingsBy(rankings).get('a')!;
      return low <= 1000 + truth / 2 && 1000 + truth / 2 <= high;
    });
    const share = held.filter(Boolean).length;
    expect(share).toBeGreaterThan(87);
    expect(share).toBeLessThan(100);
  });

  it('does not take length for quality', () => {
    const random = new Random(3);
    const rankings = Array.from({ length: 300 }, () => {
      const [long, short] = [150 + 40 * random.normal(), 100 + 40 * random.normal()];
      const first = long + 40 * random.normal() > short + 40 * random.normal();
      return [reply('long', first ? 1 : 2, long), reply('short', first ? 2 : 1, short)];
    });
    const [duel] = duelsOf(rankings);
    expect(duel!.low).toBeGreaterThan(0.6);
    expect(Math.abs(duel!.lengthControlled.winRate - 0.5)).toBeLessThan(0.1);
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
