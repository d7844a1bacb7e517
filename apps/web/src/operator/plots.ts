// From progress records to plots: one per stage and metric, steps along the bottom.
import type { ProgressRecord } from './api.ts';

export interface Plot {
  title: string;
  points: { x: number; y: number }[];
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
    const x = typeof record.step === 'number' ? record.step : index;
    for (const [metric, y] of Object.entries(record)) {
      if (typeof y !== 'number' || NOT_PLOTTED.has(metric)) continue;
      const title = record.stage ? `${record.stage} · ${metric}` : metric;
      const plot = plots.get(title) ?? { title, points: [] };
      plots.set(title, plot);
      plot.points.push({ x, y });
    }
  }
  return [...plots.values()].filter(({ points }) => points.length > 1);
}
