import { describe, expect, it } from 'vitest';
import { Random } from '@rapport/core';
import { calibrationError, kendallTau, reliabilityOf, rewardReport } from './reward-report.ts';
import type { JudgedRanking } from './reward-report.ts';

const pair = (lead: number, lengths: [number, number], annotator?: string): JudgedRanking => ({
  scores: [lead, 0],
  ranks: [1, 2],
  lengths,
  annotator,
});

describe("Kendall's τ-b", () => {
  it.each([
    [[3, 2, 1], [1, 2, 3], 1],
    [[1, 2, 3], [1, 2, 3], -1],
    // One of three pairs is wrong.
    [[3, 1, 2], [1, 2, 3], 1 / 3],
    // scipy.stats.kendalltau([4, 3, 2, 1], [-1, -2, -2, -3]): 5 pairs agree, one is tied in ranks: 5/√(6·5).
    [[4, 3, 2, 1], [1, 2, 2, 3], 5 / Math.sqrt(30)],
    [[1, 1], [1, 2], 0],
  ])('of %j and %j is %d', (scores, ranks, tau) => {
    expect(kendallTau(scores, ranks)).toBeCloseTo(tau, 12);
  });
});

const errorOf = (leads: readonly number[]) => calibrationError(reliabilityOf(leads));

describe('the calibration error', () => {
  it('is nothing when what is said at 75 % is true in three of four', () => {
    const said = Math.log(3);
    expect(errorOf([said, said, said, -said])).toBeCloseTo(0, 12);
    expect(errorOf([said, said, said, said])).toBeCloseTo(0.25, 12);
    expect(errorOf([-said, -said])).toBeCloseTo(0.75, 12);
  });
  it('is of bins that say what was stated and how often it was right', () => {
    const said = Math.log(3);
    const [bin, ...others] = reliabilityOf([said, said, -said, said]);
    expect(others).toEqual([]);
    expect(bin).toEqual({ confidence: expect.closeTo(0.75, 12), accuracy: 0.75, pairs: 4 });
  });
  it('does not let one bin make up for another', () => {
    const odds = (p: number) => Math.log(p / (1 - p));
    // Bin of 0.6: two right. Bin of 0.9: one right, one wrong. Gaps 0.4 and 0.4, half of the pairs each.
    expect(errorOf([odds(0.6), odds(0.6), odds(0.9), -odds(0.9)])).toBeCloseTo(0.4, 12);
  });
  it('is small for leads whose signs are drawn with the probability they state', () => {
    const random = new Random(1);
    const leads = Array.from({ length: 20_000 }, () => {
      const lead = 3 * random.normal();
      return random.uniform() < 1 / (1 + Math.exp(-lead)) ? lead : -lead;
    });
    expect(errorOf(leads)).toBeLessThan(0.01);
    expect(errorOf(leads.map((x) => 3 * x))).toBeGreaterThan(0.05);
  });
});

describe('the report', () => {
  it('counts pairs, equal scores half, and leaves ties of the person out', () => {
    const ranking: JudgedRanking = {
      scores: [2, 2, 1],
      ranks: [1, 2, 2],
      lengths: [5, 5, 50],
    };
    const tied: JudgedRanking = { scores: [1, 0], ranks: [1, 1], lengths: [1, 2] };
    const report = rewardReport([ranking, tied]);
    expect(report.pairs).toBe(2);
    expect(report.accuracy).toBe(0.75);
    expect(report.logLoss).toBeCloseTo((Math.LN2 + Math.log1p(Math.exp(-1))) / 2, 12);
    expect(report.lengthBaseline).toBe(0.25);
    expect(report.annotators).toEqual([]);
  });

  it('tells length apart from taste', () => {
    // Right only where the better reply is longer; equal lengths get it wrong.
    const report = rewardReport([
      pair(1, [20, 10]),
      pair(1, [20, 10]),
      pair(-1, [10, 20]),
      pair(-1, [19, 20]),
      pair(1, [20, 19]),
      pair(-1, [20, 20]),
    ]);
    expect(report.accuracy).toBe(0.5);
    expect(report.lengthBaseline).toBeCloseTo(3.5 / 6, 12);
    expect(report.lengthMatched).toMatchObject({ pairs: 3, accuracy: 1 / 3 });
  });

  it('says how well each annotator was read', () => {
    const { annotators } = rewardReport([
      pair(1, [1, 1], 'b'),
      pair(-1, [1, 1], 'b'),
      pair(1, [1, 1], 'a'),
    ]);
    expect(annotators).toMatchObject([
      { annotator: 'a', accuracy: 1, pairs: 1 },
      { annotator: 'b', accuracy: 0.5, pairs: 2 },
    ]);
  });

  it('has an interval that holds the truth 95 times of 100, prompts and not pairs being drawn', () => {
    const random = new Random(2);
    const hits = Array.from({ length: 200 }, () => {
      // All three pairs of a prompt are right or wrong together, with 70 %.
      const judged = Array.from({ length: 60 }, (): JudgedRanking => {
        const scores = random.uniform() < 0.7 ? [3, 2, 1] : [1, 2, 3];
        return { scores, ranks: [1, 2, 3], lengths: [1, 1, 1] };
      });
      const { low, high } = rewardReport(judged);
      return low <= 0.7 && 0.7 <= high;
    });
    const share = hits.filter(Boolean).length / hits.length;
    expect(share).toBeGreaterThan(0.89);
    expect(share).toBeLessThan(0.99);
  });

  it('of nothing claims nothing', () => {
    const matched = rewardReport([pair(1, [10, 20])]).lengthMatched;
    expect(matched).toEqual({ accuracy: 0.5, low: 0, high: 1, pairs: 0 });
  });
});
