// What a command prints: one JSON document with --json, else lines for people; failures with their
// remedy on the second line. Standard output carries the answer, standard error everything else.

export interface Output {
  /** The answer: `value` as JSON, or `text` for people. */
  answer(value: unknown, text: string): void;
  /** Something on the way, for people. */
  note(text: string): void;
  readonly json: boolean;
}

/** Writes to the process's own streams. */
export function outputTo(json: boolean): Output {
  return {
    json,
    answer(value, text) {
      process.stdout.write(json ? `${JSON.stringify(value)}\n` : text === '' ? '' : `${text}\n`);
    },
    note(text) {
      process.stderr.write(`${text}\n`);
    },
  };
}

/** Columns padded to their widest cell; the first row is the head. */
export function table(head: readonly string[], rows: readonly (readonly unknown[])[]): string {
  const cells = [head, ...rows].map((row) => row.map((cell) => String(cell ?? '–')));
  const widths = head.map((_, i) => Math.max(...cells.map((row) => row[i]!.length)));
  return cells
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** `key  value` per line. */
export function listing(value: Record<string, unknown>): string {
  const width = Math.max(...Object.keys(value).map((key) => key.length));
  return Object.entries(value)
    .map(([key, item]) => `${key.padEnd(width)}  ${wordOf(item)}`)
    .join('\n');
}

const wordOf = (value: unknown): string =>
  typeof value === 'object' && value !== null ? JSON.stringify(value) : String(value ?? '–');

/** Local date and time of milliseconds since 1970. */
export const when = (ms: number): string =>
  new Date(ms).toISOString().slice(0, 16).replace('T', ' ');
