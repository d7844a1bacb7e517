// rapport feedback import · export
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { Option, type Command } from 'commander';
import {
  canonicalJson,
  FEEDBACK_LIMITS,
  judgementOfRow,
  ktoRows,
  RapportError,
  trlRows,
  type Judgement,
} from '@rapport/core';
import type { Context } from '../../context.ts';
import { inFileWords } from '../../file-errors.ts';
import { knowDevice } from '../../store/devices.ts';
import { takeEvents } from '../../store/events.ts';
import { uuidOf } from '../../store/uuid.ts';
import { listing } from '../output.ts';
import { common, inFolder, inFolderOrNew, type CommonFlags } from '../session.ts';

/** Rows without a device of their own come from this one. */
const IMPORT_DEVICE = 'import';

export function feedbackCommands(program: Command): void {
  const feedback = program.command('feedback').description('votes and rankings, in and out');

  common(
    feedback
      .command('import')
      .argument('<file>', 'JSON lines: rows of feedback export, TRL or KTO rows')
      .description('take rows in; the same file twice changes nothing'),
  ).action((file: string, flags: CommonFlags) =>
    inFolderOrNew(flags, async (context, output) => {
      const counts = await importRows(context, file);
      output.answer(counts, listing(counts));
    }),
  );

  common(
    feedback
      .command('export')
      .addOption(
        new Option('--format <format>', 'of the rows')
          .choices(['rapport', 'trl', 'kto'])
          .default('rapport'),
      )
      .option('--out <file>', 'where to; standard output without it')
      .description('give the current votes and rankings as JSON lines'),
  ).action((flags: CommonFlags & { format: 'rapport' | 'trl' | 'kto'; out?: string }) =>
    inFolder(flags, async (context, output) => {
      const rows = await exportRows(context, flags.format);
      const text = rows.map((row) => JSON.stringify(row)).join('\n');
      if (flags.out) await writeLines(flags.out, text);
      if (flags.out) output.answer({ rows: rows.length, out: flags.out }, `${rows.length} rows`);
      else output.answer(rows, text);
    }),
  );
}

async function importRows(context: Context, file: string): Promise<Record<string, number>> {
  const counts: Record<string, number> = {
    accepted: 0,
    duplicate: 0,
    tombstoned: 0,
    rejected: 0,
    deferred: 0,
  };
  let batch: { device: string; event: unknown }[] = [];
  const flush = async () => {
    for (const [device, events] of byDevice(batch)) {
      await knowDevice(context.db, device);
      for (const { status } of await takeEvents(context.db, device, events))
        counts[status] = (counts[status] ?? 0) + 1;
    }
    batch = [];
  };
  for await (const row of jsonLines(file)) {
    batch.push(eventOfRow(row));
    if (batch.length >= FEEDBACK_LIMITS.eventsPerBatch) await flush();
  }
  await flush();
  return counts;
}

function eventOfRow(row: unknown): { device: string; event: unknown } {
  const { device, ...event } = (row ?? {}) as Record<string, unknown>;
  if ('type' in event && 'body' in event) {
    const known = typeof device === 'string' && /^[\w-]{1,64}$/.test(device);
    return { device: known ? device : IMPORT_DEVICE, event };
  }
  try {
    const judgement = judgementOfRow(row);
    const id = uuidOf(canonicalJson(row));
    const envelope = { id, v: 1, at: 0, release: 'imported', consent: 'import' };
    return { device: IMPORT_DEVICE, event: { ...envelope, ...judgement } };
  } catch {
    // Counted as rejected, like any other event that is not one.
    return { device: IMPORT_DEVICE, event: row };
  }
}

function byDevice(batch: readonly { device: string; event: unknown }[]): Map<string, unknown[]> {
  const groups = new Map<string, unknown[]>();
  for (const { device, event } of batch) groups.set(device, [...(groups.get(device) ?? []), event]);
  return groups;
}

async function* jsonLines(file: string): AsyncGenerator<unknown> {
  let number = 0;
  for await (const line of createInterface({ input: await openText(file) })) {
    number++;
    if (line.trim() === '') continue;
    try {
      yield JSON.parse(line) as unknown;
    } catch (cause) {
      throw new RapportError(
        'feedback/not-json',
        `Line ${number} of ${file} is not JSON.`,
        'Give JSON lines: one row per line. The lines before it were taken in; import again later.',
        { cause },
      );
    }
  }
}

async function openText(file: string) {
  const handle = await open(file).catch((error: unknown) => {
    throw inFileWords(error, file);
  });
  const isFolder = (await handle.stat()).isDirectory();
  await handle.close();
  if (isFolder) throw inFileWords({ code: 'EISDIR' }, file);
  return createReadStream(file, 'utf8');
}

async function exportRows(
  { db }: Context,
  format: 'rapport' | 'trl' | 'kto',
): Promise<readonly unknown[]> {
  const rows = await db
    .selectFrom('events')
    .selectAll()
    .where('type', 'in', ['vote', 'ranking', 'edit'])
    .where('superseded_by', 'is', null)
    .orderBy('received_at')
    .orderBy('id')
    .execute();
  const read = rows.map((row) => ({ row, body: JSON.parse(row.body) as unknown }));
  const judgements = () => read.map(({ row, body }) => ({ type: row.type, body }) as Judgement);
  if (format === 'trl') return trlRows(judgements());
  if (format === 'kto') return ktoRows(judgements());
  return read.map(({ row, body }) => ({
    id: row.id,
    type: row.type,
    v: 1,
    at: Number.isFinite(Number(row.at)) ? Number(row.at) : row.at,
    release: row.release,
    ...(row.supersedes && { supersedes: row.supersedes }),
    consent: row.consent === 'true' ? true : row.consent,
    body,
    device: row.device,
  }));
}

async function writeLines(path: string, text: string): Promise<void> {
  const file = await open(path, 'w');
  await file.writeFile(text === '' ? '' : `${text}\n`);
  await file.close();
}
