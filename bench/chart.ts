// Groups of bars: each group to its own scale, with the median in figures and the spread as a line.
import { pixel, straight, svgOf, threeDigits, written } from '@rapport/rlhf';
import type { Drawing, Mark } from '@rapport/rlhf';

export interface Bar {
  label: string;
  value: number;
  low: number;
  high: number;
}

export interface Group {
  title: string;
  bars: Bar[];
}

const WIDTH = 760;
const LABEL_WIDTH = 300;
const FIGURE_WIDTH = 70;
const BAR_HEIGHT = 16;
const SCALE_WIDTH = WIDTH - LABEL_WIDTH - FIGURE_WIDTH;

/** An SVG document that shows every group below the last. */
export const chart = (groups: readonly Group[]): string => svgOf(groups.map(drawGroup));

function drawGroup({ title, bars }: Group): Drawing {
  const longest = Math.max(...bars.map(({ high }) => high));
  const scale = longest > 0 ? SCALE_WIDTH / longest : 0;
  return {
    title,
    description: bars.map(({ label, value }) => `${label}: ${threeDigits(value)}`).join('; '),
    width: WIDTH,
    height: bars.length * BAR_HEIGHT,
    marks: bars.flatMap((bar, i) => drawBar(bar, i * BAR_HEIGHT, scale)),
  };
}

function drawBar({ label, value, low, high }: Bar, y: number, scale: number): Mark[] {
  const middle = y + BAR_HEIGHT / 2;
  const at = (x: number) => [LABEL_WIDTH + x * scale, middle] as const;
  return [
    written('name', 0, middle + 4, label),
    {
      tag: 'rect',
      class: /\bown\b/.test(label) ? 'bar own' : 'bar',
      at: { x: LABEL_WIDTH, y: y + 2, width: pixel(value * scale), height: BAR_HEIGHT - 4 },
    },
    straight('extent', at(low), at(high)),
    written('value', WIDTH, middle + 4, threeDigits(value), 'end'),
  ];
}
