// One simulated person, one seed, one setting: `npx tsx bench/simulate.ts '{"annotator":"lists","seed":0}'`.
// Writes a JSON document to standard output, progress to standard error. RAPPORT_THREADS sets the threads.
import { readFileSync } from 'node:fs';
import { buildTokenizer } from '@rapport/core';
import { simulate, type Annotator, type Instruction } from '@rapport/rlhf';
import { realCheckpoint } from '../tests/support/checkpoint.ts';
import { nodeRuntime } from '../tests/support/node-runtime.ts';

const settings = JSON.parse(process.argv[2] ?? '{}') as Record<string, never>;
const lines = (name: string) =>
  readFileSync(new URL(`../tests/data/${name}.jsonl`, import.meta.url), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Instruction);
const annotator = (settings['annotator'] as string | undefined) ?? 'lists';
const { default: score } = (await import(`../tests/annotators/${annotator}.mjs`)) as {
  default: Annotator;
};
const checkpoint = await realCheckpoint();
const tokenizer = await buildTokenizer(checkpoint.tokenizer);
const run = simulate(
  {
    prompts: lines('prompts'),
    demonstrations: lines('demonstrations'),
    method: 'ppo',
    votes: 240,
    replies: 4,
    noise: 0.1,
    seed: 0,
    maxTokens: 256,
    judgedPrompts: 47,
    judgedSamples: 4,
    ...settings,
    annotator: score,
  },
  {
    checkpoint,
    tokenizer,
    runtime: await nodeRuntime(checkpoint),
    endOfTurn: tokenizer.endOfTurn,
    now: () => performance.now(),
  },
);
const started = performance.now();
const trace: unknown[] = [];
let shown = '';
for (;;) {
  const next = await run.next();
  if (next.done) {
    const { result: _, ...report } = next.value;
    console.log(JSON.stringify({ settings, ...report, trace }));
    break;
  }
  const record = next.value;
  const seconds = Math.round((performance.now() - started) / 1000);
  if (record.stage === 'vote' || record.stage === 'judge') {
    const line = `${record.stage} ${Math.floor((10 * record.step) / record.of)}`;
    if (line !== shown) console.error(`${seconds}s ${record.stage} ${record.step}/${record.of}`);
    shown = line;
  } else {
    trace.push(record);
    console.error(
      `${seconds}s ${JSON.stringify(record, (_, v: unknown) => (typeof v === 'number' ? Number(v.toPrecision(4)) : v))}`,
    );
  }
}
process.exit(0);
