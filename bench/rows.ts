// One measured figure, and many of them as a table.
import { threeDigits } from '@rapport/rlhf';

/** What was measured of whom. */
export interface Subject {
  suite: string;
  workload: string;
  engine: string;
}

export interface Row extends Subject {
  metric: string;
  unit: string;
  /** Null where there was nothing to measure: `note` says why. */
  median: number | null;
  /** Smallest and largest of the runs. */
  low: number | null;
  high: number | null;
  runs: number;
  note?: string;
}

/** A row from the figures of several runs. */
export function rowOf(
  what: Omit<Row, 'median' | 'low' | 'high' | 'runs' | 'note'>,
  runs: readonly number[],
): Row {
  const [low, high] = [Math.min(...runs), Math.max(...runs)];
  return { ...what, median: median(runs), low, high, runs: runs.length };
}

/** Of an even number, the mean of the middle two. */
export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2;
}

/** A row that says why there is no figure. */
export function missingRow(what: Subject, why: unknown): Row {
  const note = (why instanceof Error ? why.message : String(why)).split('\n')[0]!.trim();
  return { ...what, metric: 'not measured', unit: '', ...NOTHING, note };
}

const NOTHING = { median: null, low: null, high: null, runs: 0 } as const;

/** As Markdown. */
export function table(rows: readonly Row[]): string {
  return [
    '| workload | engine | metric | median | low | high | unit | runs |',
    '|---|---|---|---|---|---|---|---|',
    ...rows.map(({ workload, engine, metric, unit, median, low, high, runs, note }) =>
      median === null
        ? line([workload, engine, `not measured: ${note}`, '', '', '', '', ''])
        : line([
            workload,
            engine,
            metric,
            threeDigits(median),
            threeDigits(low!),
            threeDigits(high!),
            unit,
            runs,
          ]),
    ),
  ].join('\n');
}

const line = (cells: readonly (string | number)[]): string =>
  `| ${cells.map((cell) => String(cell).replaceAll('|', '\\|')).join(' | ')} |`;
