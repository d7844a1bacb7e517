// What evaluation says, drawn: which figures of a report belong into which drawing. The words are the caller's, for
// pages have languages; `figureWords` are the English ones.
import type { Rating } from '../evaluation/arena.ts';
import type { RewardReport } from '../evaluation/reward-report.ts';
import type { SimulationResult } from '../evaluation/simulate.ts';
import { curves } from './curves.ts';
import type { Drawing } from './drawing.ts';
import { intervals } from './intervals.ts';
import type { IntervalRow } from './intervals.ts';

export const figureWords = {
  ratings: 'Ratings (Elo scale, 95 %)',
  winRate: 'Win rate (95 %)',
  result: 'result',
  equalLength: 'at equal length',
  warmStart: 'warm start',
  control: 'warm start, scaled',
  accuracy: 'Reward model: pairs in the right order (95 %)',
  allPairs: 'all pairs',
  likeLength: 'pairs of like length',
  longerWins: '"the longer is better"',
  reliability: 'Reliability of the reward model',
  confidence: 'stated probability; upright: how often it was right',
  rewardOverKl: 'Score by the reward model',
  winRateOverKl: 'Win rate by the judge (95 %)',
  kl: 'KL per token, nats',
};

export type FigureWords = typeof figureWords;

/** As wide as intervals are. */
const WIDTH = 440;
/** Those who judged most are drawn: a run may have learned from thousands of devices. */
const MOST_ANNOTATORS = 8;

/** Contestants, best first. */
export function ratingsFigure(ratings: readonly Rating[], words: FigureWords): Drawing {
  const rows = [...ratings]
    .sort((a, b) => b.rating - a.rating)
    .map(({ release, rating, low, high }) => ({ name: release, value: rating, low, high }));
  return intervals({ title: words.ratings, rows, guide: 1000 });
}

/** Win rates, beside the half of a coin. */
export const winRateFigure = (rows: readonly IntervalRow[], words: FigureWords): Drawing =>
  intervals({ title: words.winRate, rows, guide: 0.5 });

/** Accuracy on all pairs, on those of like length, of each annotator, and by length alone; then reliability. */
export function rewardFigures(report: RewardReport, words: FigureWords): Drawing[] {
  const row = (
    name: string,
    { accuracy, low, high }: Omit<RewardReport['lengthMatched'], 'pairs'>,
  ) => ({
    name,
    value: accuracy,
    low,
    high,
  });
  const rows: IntervalRow[] = [
    row(words.allPairs, report),
    ...(report.lengthMatched.pairs > 0 ? [row(words.likeLength, report.lengthMatched)] : []),
    { name: words.longerWins, value: report.lengthBaseline },
    ...[...report.annotators]
      .sort((a, b) => b.pairs - a.pairs)
      .slice(0, MOST_ANNOTATORS)
      .map((one) => row(one.annotator, one)),
  ];
  const accuracy = intervals({ title: words.accuracy, rows, guide: 0.5 });
  return [accuracy, ...reliabilityFigure(report, words)];
}

/** None for reports of earlier versions, which do not hold their bins. */
function reliabilityFigure({ reliability }: RewardReport, words: FigureWords): Drawing[] {
  if (!reliability?.length) return [];
  const most = Math.max(...reliability.map(({ pairs }) => pairs));
  const points = reliability.map(({ confidence, accuracy, pairs }) => ({
    x: confidence,
    y: accuracy,
    weight: pairs / most,
  }));
  const series = [{ name: words.reliability, points }];
  const { reliability: title, confidence: x } = words;
  return [curves({ title, x, series, dots: true, guide: 'diagonal', width: WIDTH, height: 200 })];
}

/** What a simulated person says of a result, and how both judges see it turned down and up. */
export function simulationFigures(
  result: Pick<
    SimulationResult,
    'winRate' | 'low' | 'high' | 'lengthControlled' | 'warmStart' | 'control' | 'frontier'
  >,
  words: FigureWords,
): Drawing[] {
  const { winRate: value, low, high, lengthControlled, warmStart, control, frontier } = result;
  const row = (name: string, rate: { winRate: number; low: number; high: number }) => ({
    name,
    value: rate.winRate,
    low: rate.low,
    high: rate.high,
  });
  const rows = [
    { name: words.result, value, low, high },
    row(words.equalLength, lengthControlled),
    ...(warmStart ? [row(words.warmStart, warmStart)] : []),
    ...(control ? [row(words.control, control)] : []),
  ];
  return [winRateFigure(rows, words), ...(frontier ? frontierFigures(frontier, words) : [])];
}

/** Over-optimisation (arXiv 2210.10760): where the score still rises and the win rate falls, the judge sees through it. */
function frontierFigures(
  frontier: NonNullable<SimulationResult['frontier']>,
  words: FigureWords,
): Drawing[] {
  const sorted = [...frontier].sort((a, b) => a.kl - b.kl);
  const scores = sorted.map(({ kl: x, reward: y }) => ({ x, y }));
  const rates = sorted.map(({ kl: x, winRate: y, low, high }) => ({ x, y, low, high }));
  const over = { x: words.kl, dots: true, width: WIDTH };
  return [
    curves({
      ...over,
      title: words.rewardOverKl,
      series: [{ name: words.rewardOverKl, points: scores }],
    }),
    curves({
      ...over,
      title: words.winRateOverKl,
      series: [{ name: words.winRateOverKl, points: rates }],
      guide: 0.5,
    }),
  ];
}
