// Values over an axis: training curves, frontiers, reliability. One or more series with intervals where there are any.
import { pixel, straight, threeDigits, written } from './drawing.ts';
import type { Drawing, Mark } from './drawing.ts';
import { scaleOf } from './scale.ts';
import type { Scale } from './scale.ts';

export interface Point {
  readonly x: number;
  /** Null or not finite where there is none: the line is broken there. */
  readonly y: number | null;
  readonly low?: number;
  readonly high?: number;
  /** From 0 to 1: how large its dot is. */
  readonly weight?: number;
}

export interface Series {
  readonly name: string;
  readonly points: readonly Point[];
}

export interface CurvesSpec {
  readonly title: string;
  readonly series: readonly Series[];
  /** What lies along the bottom. */
  readonly x?: string;
  /** Dots at the points: for few of them, which each mean something. */
  readonly dots?: boolean;
  /** A value everything is compared with, or 'diagonal' for y = x. */
  readonly guide?: number | 'diagonal';
  readonly width?: number;
  readonly height?: number;
}

const PAD = { left: 36, right: 10, top: 8, bottom: 18 };
const LEGEND_HEIGHT = 16;
const LEGEND_STEP = 110;
const AXIS_NAME_HEIGHT = 12;

/** Lines over an axis. The description names the first and the last value of each series. */
export function curves({
  title,
  series,
  x: below,
  dots = false,
  guide,
  width = 320,
  height = 140,
}: CurvesSpec): Drawing {
  const points = series.flatMap((one) => one.points.filter(isKnown));
  const top = PAD.top + (series.length > 1 ? LEGEND_HEIGHT : 0);
  const bottom = height - PAD.bottom - (below ? AXIS_NAME_HEIGHT : 0);
  const shared = guide === 'diagonal' ? points.flatMap(({ x, y }) => [x, y]) : [];
  const x = scaleOf([...points.map((point) => point.x), ...shared], [PAD.left, width - PAD.right]);
  const values = points.flatMap(({ y, low = y, high = y }) => [y, low, high]);
  const guides = typeof guide === 'number' ? [guide] : shared;
  const y = scaleOf([...values, ...guides], [bottom, top], { round: true });
  return {
    title,
    description: series.map(inWords).join('; '),
    width,
    height,
    marks: [
      ...y.ticks.flatMap((tick) => [
        straight('grid', [PAD.left, y.at(tick)], [width - PAD.right, y.at(tick)]),
        written('tick', PAD.left - 5, y.at(tick) + 3, y.label(tick), 'end'),
      ]),
      ...x.ticks.map((tick) => written('tick', x.at(tick), bottom + 13, x.label(tick), 'middle')),
      ...(below ? [written('axis', (PAD.left + width) / 2, height - 4, below, 'middle')] : []),
      ...guideMarks(guide, x, y, [PAD.left, width - PAD.right]),
      ...series.flatMap((one, i) => seriesMarks(one, i, x, y, dots)),
      ...(series.length > 1 ? series.flatMap((one, i) => legendMarks(one, i)) : []),
    ],
  };
}

const isKnown = (point: Point): point is Point & { y: number } =>
  point.y !== null && Number.isFinite(point.y);

function inWords({ name, points }: Series): string {
  const known = points.filter(isKnown);
  if (known.length === 0) return `${name}: –`;
  const [first, last] = [known[0]!, known.at(-1)!];
  return `${name}: ${threeDigits(first.y)} (${threeDigits(first.x)}) → ${threeDigits(last.y)} (${threeDigits(last.x)})`;
}

function guideMarks(
  guide: CurvesSpec['guide'],
  x: Scale,
  y: Scale,
  [left, right]: readonly [number, number],
): Mark[] {
  if (guide === undefined) return [];
  if (guide !== 'diagonal') return [straight('guide', [left, y.at(guide)], [right, y.at(guide)])];
  return [straight('guide', [left, y.at(x.low)], [right, y.at(x.high)])];
}

function seriesMarks({ points }: Series, i: number, x: Scale, y: Scale, dots: boolean): Mark[] {
  const known = points.filter(isKnown);
  const spreads = known.flatMap(({ x: at, low, high }) =>
    low === undefined || high === undefined
      ? []
      : [straight(`spread s${i}`, [x.at(at), y.at(low)], [x.at(at), y.at(high)])],
  );
  const line: Mark = { tag: 'path', class: `line s${i}`, at: { d: pathOf(points, x, y) } };
  const shown = known.map(({ x: cx, y: cy, weight = 0.4 }): Mark => ({
    tag: 'circle',
    class: `dot s${i}`,
    at: { cx: pixel(x.at(cx)), cy: pixel(y.at(cy)), r: pixel(1.5 + 4 * weight) },
  }));
  return [...spreads, line, ...(dots ? shown : [])];
}

/** A path that lifts the pen where a value is missing. */
function pathOf(points: readonly Point[], x: Scale, y: Scale): string {
  let isDown = false;
  return points
    .map((point) => {
      const command = isDown ? 'L' : 'M';
      isDown = isKnown(point);
      return isKnown(point) ? `${command}${pixel(x.at(point.x))} ${pixel(y.at(point.y))}` : '';
    })
    .join('');
}

function legendMarks({ name }: Series, i: number): Mark[] {
  const left = PAD.left + i * LEGEND_STEP;
  return [
    straight(`line s${i}`, [left, PAD.top], [left + 16, PAD.top]),
    written('name', left + 20, PAD.top + 3, name),
  ];
}
