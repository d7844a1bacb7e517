// From progress records to plots: one per stage and metric, steps along the bottom.
import type { ProgressRecord } from './api.ts';

export interface Plot {
  title: string;
  steps: number[];
  series: { name: string; values: (number | null)[] }[];
}

/** Numbers that count or time rather than measure. */
const NOT_PLOTTED = new Set([
  'step',
  'steps',
  'of',
  'total',
  'epoch',
  'at',
  'elapsedMs',
  'seconds',
]);

/** Every numeric metric of every stage, in the order in which they first appeared. */
export function plotsOf(records: readonly ProgressRecord[]): Plot[] {
  const plots = new Map<string, Plot>();
  for (const [index, record] of records.entries()) {
    const step = typeof record.step === 'number' ? record.step : index;
    for (const [metric, value] of Object.entries(record)) {
      if (typeof value !== 'number' || NOT_PLOTTED.has(metric)) continue;
      const title = record.stage ? `${record.stage} · ${metric}` : metric;
      let plot = plots.get(title);
      if (!plot)
        plots.set(title, (plot = { title, steps: [], series: [{ name: metric, values: [] }] }));
      plot.steps.push(step);
      plot.series[0]!.values.push(value);
    }
  }
  return [...plots.values()].filter(({ steps }) => steps.length > 1);
}
