// What was measured of a run, for people: drawings, and a table that says the same in words. Runs of earlier versions
// hold less; what is not there is not shown.
import { rewardFigures, threeDigits, winRateFigure } from '@rapport/rlhf';
import type { Drawing, RewardReport } from '@rapport/rlhf';
import type { ConsoleWords } from './words.ts';

export type Evaluation = Readonly<Record<string, unknown>>;
export type Measure = keyof ConsoleWords['measures'];

/** How each measure is written, in the order of the table. */
const WRITTEN: Record<Measure, (value: number) => string> = {
  winRate: percent,
  lengthControlled: percent,
  kl: threeDigits,
  nllChange: percent,
  scale: threeDigits,
  endedFraction: percent,
  replyLength: threeDigits,
  baseReplyLength: threeDigits,
  goldenErrors: String,
  canariesBroken: String,
  canariesWrong: String,
  rewardModelAccuracy: percent,
  logLoss: threeDigits,
  kendallTau: threeDigits,
  calibrationError: percent,
  pairs: String,
  tokensTrained: (value) => value.toLocaleString('en'),
  seconds: threeDigits,
};

/** One tenth of a percent. */
function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** Each measure that is there, with its name and value. */
export function measuresOf(evaluation: Evaluation, words: ConsoleWords): [string, string][] {
  const all: Evaluation = { ...rewardModelOf(evaluation), ...evaluation };
  return Object.entries(WRITTEN).flatMap(([name, write]): [string, string][] => {
    const value = all[name];
    return typeof value === 'number' ? [[words.measures[name as Measure], write(value)]] : [];
  });
}

/** Who won the arena of the run, and how good its reward model is. */
export function drawingsOf(evaluation: Evaluation, words: ConsoleWords): Drawing[] {
  const { figures } = words;
  const { winRate, low, high, lengthControlled } = evaluation;
  const rates = [
    ...(typeof winRate === 'number' && typeof low === 'number' && typeof high === 'number'
      ? [{ name: figures.result, value: winRate, low, high }]
      : []),
    ...(typeof lengthControlled === 'number'
      ? [{ name: figures.equalLength, value: lengthControlled }]
      : []),
  ];
  const reward = rewardModelOf(evaluation);
  return [
    ...(rates.length > 0 ? [winRateFigure(rates, { ...figures, winRate: words.ownArena })] : []),
    ...(reward ? rewardFigures(reward, figures) : []),
  ];
}

function rewardModelOf({ rewardModel }: Evaluation): RewardReport | undefined {
  const report = rewardModel as RewardReport | null | undefined;
  return report?.lengthMatched && report.annotators ? report : undefined;
}
