// What training is worth, over people, methods, numbers of votes and seeds:
// `npx tsx bench/learning.ts [--rows N] [--folder DIR]` adds up to N missing rows, one after the other, to
// docs/learning.jsonl and writes docs/learning.md from all of them. It goes on where it was stopped.
// A row takes ten to twenty minutes on two cores. What the base says is kept in DIR: it is the same for all.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { format, resolveConfig } from 'prettier';
import { allocator } from '../apps/server/trainer/local.ts';
import { learningTable, missingRows, settingsOf } from './learning-rows.ts';
import type { LearningRow } from './learning-rows.ts';

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: 'Infinity' },
    folder: { type: 'string', default: join(homedir(), '.cache', 'rapport', 'learning') },
  },
});
const inRepository = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const kept = inRepository('docs/learning.jsonl');
const report = inRepository('docs/learning.md');

const rows = (await readFile(kept, 'utf8').catch(() => ''))
  .split('\n')
  .filter(Boolean)
  .map((line) => JSON.parse(line) as LearningRow);
await mkdir(values.folder, { recursive: true });
for (const wanted of missingRows(rows).slice(0, Number(values.rows))) {
  console.error(`${new Date().toISOString().slice(11, 19)} ${JSON.stringify(wanted)}`);
  const samples = join(values.folder, `base-${wanted.seed}.json`);
  const settings = { ...settingsOf(wanted), samples };
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', inRepository('bench/simulate.ts'), JSON.stringify(settings)],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { ...allocator, ...process.env } },
  );
  let said = '';
  child.stdout.on('data', (bytes: Buffer) => (said += bytes.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`A row ended with ${code}.`);
  const { winRate, wins, kl, nllChange, ended, replyLength, rewardModelAccuracy, trainSeconds } =
    JSON.parse(said) as LearningRow;
  const row: LearningRow = {
    ...wanted,
    ...{ winRate, wins, kl, nllChange, ended, replyLength, rewardModelAccuracy, trainSeconds },
  };
  rows.push(row);
  await appendFile(kept, `${JSON.stringify(row)}\n`);
  await writeReport();
}
await writeReport();

async function writeReport(): Promise<void> {
  const options = { ...(await resolveConfig(report)), filepath: report };
  await writeFile(report, await format(learningTable(rows), options));
}
