// The files of a run, and how its progress is followed.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

export const specFile = (folder: string, attempt: number) => join(folder, `run-${attempt}.json`);
export const resultFile = (folder: string, attempt: number) =>
  join(folder, `result-${attempt}.json`);
export const cancelFile = (folder: string, attempt: number) => join(folder, `cancel-${attempt}`);
export const progressFile = (folder: string) => join(folder, 'progress.jsonl');
export const rowsFile = (folder: string) => join(folder, 'rows.jsonl');

/** Whole lines of a file from byte `cursor` on, and the cursor behind the last of them. */
export async function linesFrom(
  path: string,
  cursor: number,
): Promise<{ lines: string[]; cursor: number }> {
  const bytes = await readFile(path).catch(() => Buffer.alloc(0));
  const end = bytes.lastIndexOf(10) + 1;
  if (end <= cursor) return { lines: [], cursor };
  const text = bytes.subarray(cursor, end).toString('utf8');
  return { lines: text.split('\n').filter((line) => line !== ''), cursor: end };
}
