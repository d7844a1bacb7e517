import { expect, test } from 'vitest';
import { drawingsOf, measuresOf } from './evaluation.ts';
import { consoleEn, consoleZh } from './words.ts';

const rate = { accuracy: 0.8, low: 0.7, high: 0.9, pairs: 20 };
const measured = {
  winRate: 0.66,
  low: 0.59,
  high: 0.73,
  lengthControlled: 0.62,
  goldenErrors: 0,
  tokensTrained: 134170,
  rewardModel: {
    ...rate,
    logLoss: 0.342,
    kendallTau: 0.54,
    calibrationError: 0.044,
    lengthBaseline: 0.66,
    lengthMatched: rate,
    annotators: [],
    reliability: [
      { confidence: 0.6, accuracy: 0.5, pairs: 4 },
      { confidence: 0.9, accuracy: 1, pairs: 16 },
    ],
  },
};

test('a run is drawn: its arena, its reward model, and how far that can be relied on', () => {
  const drawings = drawingsOf(measured, consoleEn);
  expect(drawings.map(({ title }) => title)).toEqual([
    consoleEn.ownArena,
    consoleEn.figures.accuracy,
    consoleEn.figures.reliability,
  ]);
  expect(drawings[0]!.description).toBe('result: 0.660 [0.590, 0.730]; at equal length: 0.620');
});

test('every measure has a name in both languages and a unit', () => {
  expect(measuresOf(measured, consoleEn)).toEqual(
    expect.arrayContaining([
      [consoleEn.measures.winRate, '66.0 %'],
      [consoleEn.measures.goldenErrors, '0'],
      [consoleEn.measures.calibrationError, '4.4 %'],
      [consoleEn.measures.tokensTrained, '134,170'],
    ]),
  );
  expect(measuresOf(measured, consoleZh).map(([, value]) => value)).toEqual(
    measuresOf(measured, consoleEn).map(([, value]) => value),
  );
});

test('a run without a reward model, and one that measured nothing, are shown as far as they go', () => {
  expect(drawingsOf({}, consoleEn)).toEqual([]);
  expect(measuresOf({ kl: 0.0611, nllChange: null }, consoleEn)).toEqual([
    [consoleEn.measures.kl, '0.0611'],
  ]);
});
