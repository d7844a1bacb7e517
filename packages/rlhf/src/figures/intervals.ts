// Names with a value and its interval, one below the other: ratings, win rates, accuracies.
import { pixel, straight, threeDigits, written } from './drawing.ts';
import type { Drawing, Mark } from './drawing.ts';
import { scaleOf } from './scale.ts';

export interface IntervalRow {
  readonly name: string;
  readonly value: number;
  readonly low?: number | undefined;
  readonly high?: number | undefined;
}

export interface IntervalsSpec {
  readonly title: string;
  readonly rows: readonly IntervalRow[];
  /** A value everything is compared with: one half, or the mean rating. */
  readonly guide?: number;
  readonly width?: number;
}

const ROW_HEIGHT = 20;
const NAME_WIDTH = 134;
const VALUE_WIDTH = 104;
const TOP = 6;
const AXIS_HEIGHT = 16;
/** Letters that fit beside the scale. */
const NAME_LETTERS = 24;

/** A row per name; the description says the same in figures. */
export function intervals({ title, rows, guide, width = 440 }: IntervalsSpec): Drawing {
  const bottom = TOP + rows.length * ROW_HEIGHT;
  const values = rows.flatMap(({ value, low = value, high = value }) => [value, low, high]);
  const across = [NAME_WIDTH, width - VALUE_WIDTH - 10] as const;
  const x = scaleOf(guide === undefined ? values : [...values, guide], across, { round: true });
  const upright = (name: string, value: number) =>
    straight(name, [x.at(value), TOP], [x.at(value), bottom]);
  return {
    title,
    description: rows.map((row) => `${row.name}: ${inWords(row)}`).join('; '),
    width,
    height: bottom + AXIS_HEIGHT,
    marks: [
      ...x.ticks.flatMap((tick) => [
        upright('grid', tick),
        written('tick', x.at(tick), bottom + 12, x.label(tick), 'middle'),
      ]),
      ...(guide === undefined ? [] : [upright('guide', guide)]),
      ...rows.flatMap((row, i): Mark[] => {
        const y = TOP + (i + 0.5) * ROW_HEIGHT;
        const { name, value, low = value, high = value } = row;
        return [
          written('name', 0, y + 3.5, shortened(name)),
          straight('spread s0', [x.at(low), y], [x.at(high), y]),
          {
            tag: 'circle',
            class: 'dot s0',
            at: { cx: pixel(x.at(value)), cy: pixel(y), r: 3.5 },
          },
          written('value', width, y + 3.5, inWords(row), 'end'),
        ];
      }),
    ],
  };
}

function inWords({ value, low, high }: IntervalRow): string {
  const spread =
    low === undefined || high === undefined ? '' : ` [${threeDigits(low)}, ${threeDigits(high)}]`;
  return threeDigits(value) + spread;
}

const shortened = (name: string): string =>
  name.length > NAME_LETTERS ? `${name.slice(0, NAME_LETTERS - 1)}…` : name;
