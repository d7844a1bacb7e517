// One measured figure, and many of them as a table.

export interface Row {
  suite: string;
  workload: string;
  engine: string;
  metric: string;
  unit: string;
  median: number;
  /** Smallest and largest of the runs. */
  low: number;
  high: number;
  runs: number;
}

/** A row from the figures of several runs. */
export function rowOf(what: Omit<Row, 'median' | 'low' | 'high' | 'runs'>, runs: number[]): Row {
  const sorted = [...runs].sort((a, b) => a - b);
  const median = sorted[sorted.length >> 1]!;
  return { ...what, median, low: sorted[0]!, high: sorted.at(-1)!, runs: runs.length };
}

/** As Markdown. */
export function table(rows: readonly Row[]): string {
  const digits = (x: number) =>
    Math.abs(x) >= 100 ? x.toFixed(0) : Math.abs(x) >= 0.01 ? x.toPrecision(3) : x.toExponential(1);
  return [
    '| workload | engine | metric | median | low | high | unit | runs |',
    '|---|---|---|---|---|---|---|---|',
    ...rows.map(
      ({ workload, engine, metric, unit, median, low, high, runs }) =>
        `| ${workload} | ${engine} | ${metric} | ${digits(median)} | ${digits(low)} | ${digits(high)} | ${unit} | ${runs} |`,
    ),
  ].join('\n');
}
