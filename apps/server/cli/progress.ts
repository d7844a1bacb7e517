// The progress of a run for people: a line per step; on a terminal the line of a stage is written over.
import type { ProgressRecord } from '../trainer/spec.ts';

/** Writes records to `stream`; `end` leaves the last line as it stands. */
export function progressTo(stream: NodeJS.WriteStream = process.stderr) {
  let shown: string | undefined;
  return {
    show(record: ProgressRecord): void {
      const line = lineOf(record);
      if (!stream.isTTY) return void stream.write(`${line}\n`);
      const start = record.stage === shown ? '\r\x1b[K' : shown === undefined ? '' : '\n';
      // A line of the full width would wrap, and could not be written over any more.
      stream.write(start + line.slice(0, (stream.columns || 80) - 1));
      shown = record.stage;
    },
    end(): void {
      if (shown !== undefined) stream.write('\n');
      shown = undefined;
    },
  };
}

function lineOf(record: ProgressRecord): string {
  const { stage, step, of, steps = of, at: _, ...numbers } = record;
  const metrics = Object.entries(numbers)
    .filter(([, value]) => typeof value === 'number')
    .map(([name, value]) => `${name} ${Number((value as number).toPrecision(4))}`);
  const count = step === undefined ? '' : steps ? `${step}/${String(steps)}` : String(step);
  return [stage, count, ...metrics].filter((word) => word !== '').join('  ');
}
