import { describe, expect, it } from 'vitest';
import { rewardReport } from '../evaluation/reward-report.ts';
import { curves } from './curves.ts';
import { svgOf, threeDigits } from './drawing.ts';
import type { Drawing, Mark } from './drawing.ts';
import { intervals } from './intervals.ts';
import { figureWords, ratingsFigure, rewardFigures, simulationFigures } from './reports.ts';
import { scaleOf } from './scale.ts';

const marksOf = ({ marks }: Drawing, name: string): Mark[] =>
  marks.filter((mark) => mark.class.split(' ').includes(name));

describe('a scale', () => {
  it.each([
    [
      [0, 1],
      [0, 1],
      ['0', '1'],
    ],
    [
      [0.5, 1.5],
      [0.5, 1, 1.5],
      ['0.5', '1.0', '1.5'],
    ],
    [
      [0.1, 0.13],
      [0.1, 0.11, 0.12, 0.13],
      ['0.10', '0.11', '0.12', '0.13'],
    ],
    [
      [0, 0.00022],
      [0, 0.0001, 0.0002],
      ['0', '1.0e-4', '2.0e-4'],
    ],
    [
      [-3, 17],
      [0, 5, 10, 15],
      ['0', '5', '10', '15'],
    ],
    [
      [840, 1160],
      [900, 1000, 1100],
      ['900', '1000', '1100'],
    ],
  ])('of %j has the ticks %j', (values, ticks, labels) => {
    const scale = scaleOf(values, [0, 100]);
    expect(scale.ticks).toEqual(ticks.map((tick) => expect.closeTo(tick, 9)));
    expect(scale.ticks.map(scale.label)).toEqual(labels);
    expect(values.map(scale.at)).toEqual([0, 100]);
  });
  it('of equal values has them in its middle', () => {
    expect(scaleOf([3, 3], [0, 100]).at(3)).toBe(50);
    expect(scaleOf([0], [0, 100]).at(0)).toBe(50);
    expect(scaleOf([], [0, 100]).at(0.5)).toBe(50);
  });
});

it('figures have three digits where they mean something', () => {
  const shown = [1234.5, 99.96, 0.5, 0, 0.00012, -0.0000004].map(threeDigits);
  expect(shown).toEqual(['1235', '100', '0.500', '0.00', '1.2e-4', '-4.0e-7']);
});

describe('curves', () => {
  const rising = { name: 'loss', points: [0, 1, 2, 3].map((x) => ({ x, y: x === 2 ? null : x })) };
  it('lift the pen where a value is missing', () => {
    const [line] = marksOf(curves({ title: 'a', series: [rising] }), 'line');
    expect(String(line!.at['d']).match(/[ML]/g)?.join('')).toBe('MLM');
  });
  it('say where each series begins and ends', () => {
    const { description } = curves({ title: 'a', series: [rising] });
    expect(description).toBe('loss: 0.00 (0.00) → 3.00 (3.00)');
  });
  it('have a legend only where there are several', () => {
    const names = (count: number) =>
      marksOf(curves({ title: 'a', series: Array(count).fill(rising) }), 'name').length;
    expect([names(1), names(2)]).toEqual([0, 2]);
  });
  it('of perfect reliability lie on the diagonal', () => {
    const points = [0.55, 0.75, 0.95].map((x) => ({ x, y: x }));
    const figure = curves({
      title: 'a',
      series: [{ name: 'a', points }],
      dots: true,
      guide: 'diagonal',
    });
    const { x1, y1, x2, y2 } = marksOf(figure, 'guide')[0]!.at as Record<string, number>;
    const slope = (y2! - y1!) / (x2! - x1!);
    for (const { at } of marksOf(figure, 'dot'))
      expect(Number(at['cy'])).toBeCloseTo(y1! + slope * (Number(at['cx']) - x1!), 0);
  });
});

describe('intervals', () => {
  it('reach from their low to their high end, to one scale with the guide', () => {
    const rows = [{ name: 'a', value: 0.6, low: 0.5, high: 0.7 }];
    const figure = intervals({ title: 'rates', rows, guide: 0.5 });
    const [spread] = marksOf(figure, 'spread');
    const [guide] = marksOf(figure, 'guide');
    expect(spread!.at['x1']).toBe(guide!.at['x1']);
    const middle = (Number(spread!.at['x1']) + Number(spread!.at['x2'])) / 2;
    expect(marksOf(figure, 'dot')[0]!.at['cx']).toBeCloseTo(middle, 0);
    expect(figure.description).toBe('a: 0.600 [0.500, 0.700]');
  });
});

describe('a document', () => {
  it('names and describes every drawing, and escapes what people wrote', () => {
    const rows = [{ name: '<b> & "c"', value: 1 }];
    const svg = svgOf([intervals({ title: 'a < b', rows }), intervals({ title: 'two', rows })], 2);
    expect(svg.match(/role="img"/g)).toHaveLength(2);
    expect(svg).toContain('<title id="t0">a &lt; b</title>');
    expect(svg).toContain('<desc id="d1">&lt;b&gt; &amp; &quot;c&quot;: 1.00</desc>');
    expect(svg).not.toMatch(/<b>|NaN|undefined/);
    expect(svg).toContain('prefers-color-scheme:dark');
  });
});

describe('the figures of a report', () => {
  it('rate contestants, best first', () => {
    const rating = (release: string, value: number) => ({
      release,
      rating: value,
      low: value - 40,
      high: value + 50,
    });
    const figure = ratingsFigure([rating('base', 950), rating('new', 1050)], figureWords);
    expect(figure.description).toBe('new: 1050 [1010, 1100]; base: 950 [910, 1000]');
  });

  it('show accuracies and reliability of a reward model', () => {
    const report = rewardReport([
      { scores: [2, 0], ranks: [1, 2], lengths: [9, 9], annotator: 'ada' },
      { scores: [0, 3], ranks: [1, 2], lengths: [9, 99], annotator: 'bo' },
    ]);
    const [accuracy, reliability] = rewardFigures(report, figureWords);
    expect(accuracy!.description).toMatch(/^all pairs: 0.500 .*ada: 1.00 .*bo: 0.00/);
    expect(marksOf(reliability!, 'dot')).toHaveLength(2);
    const { reliability: _, ...old } = report;
    expect(rewardFigures(old, figureWords)).toHaveLength(1);
  });

  it('show what a simulated person says, and both judges along the frontier', () => {
    const rate = { winRate: 0.6, low: 0.5, high: 0.7 };
    const at = (kl: number, reward: number) => ({ scale: 1, kl, reward, nllChange: 0, ...rate });
    const result = { ...rate, lengthControlled: rate, frontier: [at(0.2, 1.5), at(0.1, 1)] };
    const [rates, rewards, judged] = simulationFigures(result, figureWords);
    expect(rates!.description).toContain('at equal length: 0.600');
    expect(rewards!.description).toContain('1.00 (0.100) → 1.50 (0.200)');
    expect(marksOf(judged!, 'spread')).toHaveLength(2);
    const { frontier: _, ...plain } = result;
    expect(simulationFigures(plain, figureWords)).toHaveLength(1);
  });
});
