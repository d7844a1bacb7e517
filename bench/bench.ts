// `npm run bench -- inference|training|server|all [--quick] [--json FILE] [--threads N] [--report FILE]`:
// engines side by side, one table. A full run also writes docs/benchmarks.md; a quick one writes a report only
// where it is told to.
import { writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { inference } from './inference.ts';
import { machine } from './machine.ts';
import { writeReport } from './report.ts';
import { missingRow, table, type Row } from './rows.ts';
import { server } from './server.ts';
import { verdicts, verdictTable } from './targets.ts';
import { training } from './training.ts';

const suites: Record<string, (quick: boolean, threads: number) => Promise<Row[]>> = {
  inference,
  training,
  server,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    threads: { type: 'string' },
    report: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
const [name = ''] = positionals;
const chosen = name === 'all' ? Object.keys(suites) : name in suites ? [name] : [];
const threads = Number(values.threads ?? threadsFor(availableParallelism()));
if (values.help || chosen.length === 0 || !Number.isInteger(threads) || threads < 1) {
  const names = [...Object.keys(suites), 'all'].join('|');
  console.error(
    `Usage: npm run bench -- ${names} [--quick] [--json FILE] [--threads N] [--report FILE]`,
  );
  process.exit(values.help ? 0 : 2);
}
const report = values.report ?? (values.quick ? undefined : defaultReport());
const all: Row[] = [];
for (const suite of chosen) {
  const fromMs = performance.now();
  const rows = await suites[suite]!(values.quick, threads).catch((error: unknown) => [
    missingRow({ suite, workload: 'all', engine: 'all' }, error),
  ]);
  const seconds = Math.round((performance.now() - fromMs) / 1000);
  console.error(`${suite}: ${seconds} s`);
  all.push(...rows);
  const judged = verdictTable(verdicts(rows, suite));
  console.log(`\n## ${suite}\n\n${table(rows)}${judged && `\n\n${judged}`}`);
  // After every suite: a later one that ends the process leaves what there is.
  if (values.json) await writeFile(values.json, `${JSON.stringify(all, null, 2)}\n`);
  if (report) {
    const command = `npm run bench -- ${suite}${values.quick ? ' --quick' : ''}`;
    await writeReport(report, { suite, command, seconds, machine: await machine(threads), rows });
  }
}
process.exit(0);

/** As the product does in the page: all of a few cores, half of many. */
function threadsFor(cores: number): number {
  return cores <= 4 ? cores : Math.min(8, Math.floor(cores / 2));
}

function defaultReport(): string {
  return fileURLToPath(new URL('../docs/benchmarks.md', import.meta.url));
}
