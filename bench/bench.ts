// `npm run bench -- inference [--quick] [--json FILE]`: engines side by side, one table.
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { inference } from './inference.ts';
import { table, type Row } from './rows.ts';

const suites: Record<string, (quick: boolean) => Promise<Row[]>> = { inference };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: 'boolean', default: false }, json: { type: 'string' } },
});
const [name = ''] = positionals;
const chosen = name === 'all' ? Object.values(suites) : suites[name] ? [suites[name]] : [];
if (chosen.length === 0) {
  console.error(
    `Usage: npm run bench -- ${Object.keys(suites).join('|')}|all [--quick] [--json FILE]`,
  );
  process.exit(2);
}
const rows: Row[] = [];
for (const suite of chosen) rows.push(...(await suite(values.quick)));
console.log(table(rows));
if (values.json) await writeFile(values.json, `${JSON.stringify(rows, null, 2)}\n`);
process.exit(0);
