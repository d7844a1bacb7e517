// What training is worth, over people, methods, numbers of votes and seeds:
// `npx tsx bench/learning.ts [--rows N] [--at-once K] [--only TEXT] [--prompts NAME] [--folder DIR]` adds up to N missing
// rows to docs/learning.jsonl, K at a time, and writes docs/learning.md from all of them. It goes on where it was stopped.
// With TEXT it adds such rows alone: 'kto 60', 'lists'. With NAME prompts are those of another file of tests/data, and rows
// and table stand in docs/learning-NAME.
// What the base says is kept in DIR: it is the same for all people and methods.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { availableParallelism, homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { format, resolveConfig } from 'prettier';
import { allocator } from '../apps/server/trainer/local.ts';
import { keyOf, learningTable, missingRows, settingsOf } from './learning-rows.ts';
import type { LearningCase, LearningRow } from './learning-rows.ts';

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: 'Infinity' },
    'at-once': { type: 'string', default: '1' },
    only: { type: 'string', default: '' },
    prompts: { type: 'string', default: '' },
    folder: { type: 'string', default: join(homedir(), '.cache', 'rapport', 'learning') },
  },
});
const inRepository = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const suffix = values.prompts && `-${values.prompts}`;
const kept = inRepository(`docs/learning${suffix}.jsonl`);
const report = inRepository(`docs/learning${suffix}.md`);

/** Replies of the base belong to the prompts as they are. */
const promptsKey = createHash('sha256')
  .update(await readFile(inRepository(`tests/data/${values.prompts || 'prompts'}.jsonl`)))
  .digest('hex')
  .slice(0, 8);

const rows = (await readFile(kept, 'utf8').catch(() => ''))
  .split('\n')
  .filter(Boolean)
  .map((line) => JSON.parse(line) as LearningRow);
await mkdir(values.folder, { recursive: true });
const queue = missingRows(rows)
  .filter((one) => `${keyOf(one)} `.includes(`${values.only} `))
  .slice(0, Number(values.rows));
const atOnce = Number(values['at-once']);
await Promise.all(Array.from({ length: atOnce }, work));
await writeReport();

async function work(): Promise<void> {
  for (let wanted = queue.shift(); wanted; wanted = queue.shift()) {
    console.error(`${new Date().toISOString().slice(11, 19)} ${JSON.stringify(wanted)}`);
    const row = await measure(wanted);
    rows.push(row);
    await appendFile(kept, `${JSON.stringify(row)}\n`);
    await writeReport();
  }
}

async function measure(wanted: LearningCase): Promise<LearningRow> {
  const samples = join(values.folder, `base-${promptsKey}-${wanted.seed}.json`);
  const settings = {
    ...settingsOf(wanted),
    samples,
    ...(values.prompts && { promptsFrom: values.prompts }),
  };
  const threads = Math.max(1, Math.floor(availableParallelism() / atOnce));
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', inRepository('bench/simulate.ts'), JSON.stringify(settings)],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { RAPPORT_THREADS: String(threads), ...allocator, ...process.env },
    },
  );
  let said = '';
  child.stdout.on('data', (bytes: Buffer) => (said += bytes.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${JSON.stringify(wanted)} ended with ${code}.`);
  const result = JSON.parse(said) as LearningRow;
  const { winRate, wins, kl, nllChange, ended, replyLength, rewardModelAccuracy, warmStart } =
    result;
  return {
    ...wanted,
    ...{ winRate, wins, kl, nllChange, ended, replyLength, rewardModelAccuracy },
    ...(warmStart && { warmStart: { winRate: warmStart.winRate } }),
  };
}

async function writeReport(): Promise<void> {
  const options = { ...(await resolveConfig(report)), filepath: report };
  await writeFile(report, await format(learningTable(rows, values.prompts), options));
}
