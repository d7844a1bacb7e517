// docs/benchmarks.md: one section per suite, replaced by each run, with a table, ratios, a drawing and
// what it says of the targets. What people wrote between the sections stays.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { threeDigits } from '@rapport/rlhf';
import { format, resolveConfig } from 'prettier';
import { chart, type Group } from './chart.ts';
import { NODE_OWN, OWN, TRAINING_NODE } from './engines.ts';
import { table, type Row } from './rows.ts';
import { verdicts, verdictTable } from './targets.ts';

export interface Measured {
  suite: string;
  command: string;
  seconds: number;
  machine: string;
  rows: readonly Row[];
}

const TITLES: Record<string, string> = {
  inference: 'Inference',
  training: 'Training',
  server: 'Server',
};
/** Whom others are compared with. */
const OURS = [OWN, NODE_OWN, TRAINING_NODE];

/** Puts a run into a report, and its drawing beside it under images/. */
export async function writeReport(path: string, measured: Measured): Promise<void> {
  const text = await readFile(path, 'utf8').catch(() => '# Benchmarks\n');
  const groups = groupsOf(measured.rows);
  const image = `bench-${measured.suite}.svg`;
  const folder = join(dirname(path), 'images');
  await mkdir(folder, { recursive: true });
  if (groups.length > 0) await writeFile(join(folder, image), chart(groups));
  const written = replaceSection(text, measured.suite, section(measured, groups, image));
  const options = await resolveConfig(path);
  await writeFile(path, await format(written, { ...options, filepath: basename(path) }));
}

function section(
  { suite, command, seconds, machine, rows }: Measured,
  groups: readonly Group[],
  image: string,
): string {
  const title = TITLES[suite] ?? suite;
  const ratios = ratioTable(rows);
  const judged = verdictTable(verdicts(rows, suite));
  return [
    `## ${title}`,
    `Made by \`${command}\` in ${seconds} s. ${machine}`,
    ...(groups.length > 0 ? [`![${title}: times and speeds side by side](images/${image})`] : []),
    table(rows),
    ...(ratios ? ['How many times as fast as others our engines are, by medians:', ratios] : []),
    ...(judged ? [judged] : []),
  ].join('\n\n');
}

/** `text` with the section of a suite replaced, or put at its end. */
export function replaceSection(text: string, suite: string, content: string): string {
  const [open, close] = [`<!-- bench:${suite} -->`, `<!-- /bench:${suite} -->`];
  const block = `${open}\n\n${content}\n\n${close}`;
  const [from, to] = [text.indexOf(open), text.indexOf(close)];
  if (from < 0 || to < from) return `${text.trimEnd()}\n\n${block}\n`;
  return text.slice(0, from) + block + text.slice(to + close.length);
}

/** GFLOP/s and GB/s say how far from the machine's limit, not who is faster. */
const isSpeed = ({ unit }: Row): boolean => ['tokens/s', 'events/s', 'MB/s'].includes(unit);
const isTime = ({ unit }: Row): boolean => unit === 'ms' || unit === 's';
const key = ({ workload, metric, unit }: Row): string => `${workload}\n${metric}\n${unit}`;

/** Times and speeds that several engines have, workload by workload. */
export function groupsOf(rows: readonly Row[]): Group[] {
  const groups = new Map<string, Group>();
  for (const row of rows) {
    if (row.median === null || !(isTime(row) || isSpeed(row))) continue;
    const title = `${row.workload}: ${row.metric}, ${row.unit}`;
    const group = groups.get(key(row)) ?? { title, bars: [] };
    groups.set(key(row), group);
    group.bars.push({ label: row.engine, value: row.median, low: row.low!, high: row.high! });
  }
  return [...groups.values()].filter(({ bars }) => bars.length > 1);
}

/** Our engines against all others at the same work; limits of the machine are no engines. */
export function ratioTable(rows: readonly Row[]): string {
  const known = rows.filter(
    (row) =>
      row.median !== null && (isTime(row) || isSpeed(row)) && !row.engine.startsWith('limit'),
  );
  const lines = known
    .filter(({ engine }) => OURS.includes(engine))
    .flatMap((own) =>
      known
        .filter((row) => key(row) === key(own) && row.engine !== own.engine)
        .filter((row) => isNode(row) === isNode(own) || own.engine === TRAINING_NODE)
        .map((row) => {
          const ratio = isTime(own) ? row.median! / own.median! : own.median! / row.median!;
          return `| ${own.workload} | ${own.engine} | ${row.engine} | ${threeDigits(ratio)} |`;
        }),
    );
  if (lines.length === 0) return '';
  return ['| workload | of | against | times |', '|---|---|---|---|', ...lines].join('\n');
}

const isNode = ({ engine }: Row): boolean => engine.startsWith('Node: ');
