// One simulated person, one seed, one setting: `npx tsx bench/simulate.ts '{"annotator":"lists","seed":0}'`.
// Writes a JSON document to standard output, progress to standard error. RAPPORT_THREADS sets the threads.
// `samples` names a file that keeps the base's replies for other people and settings with the same seed; `sampledPrompts`
// and `sampledJudged` say how many prompts and how many replies to judge it holds, where others need more than this one.
// `promptsFrom` names another file of tests/data to take prompts from.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { buildTokenizer } from '@rapport/core';
import { sampleBase, simulate } from '@rapport/rlhf';
import type {
  Annotator,
  BaseSamples,
  Instruction,
  SimulationRecord,
  SimulationSpec,
} from '@rapport/rlhf';
import { nodeRuntime } from '../apps/server/node-runtime.ts';
import { realCheckpoint } from '../tests/support/checkpoint.ts';

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
const spec: SimulationSpec = {
  prompts: lines((settings['promptsFrom'] as string | undefined) ?? 'prompts'),
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
};
const platform = {
  checkpoint,
  tokenizer,
  runtime: await nodeRuntime(checkpoint),
  endOfTurn: tokenizer.endOfTurn,
  now: () => performance.now(),
};
const started = performance.now();
const trace: unknown[] = [];
let shown = '';

/** Runs to the end, showing what comes. */
async function follow<T>(run: AsyncGenerator<SimulationRecord, T>): Promise<T> {
  for (;;) {
    const next = await run.next();
    if (next.done) return next.value;
    const { stage } = next.value;
    const seconds = Math.round((performance.now() - started) / 1000);
    if (stage === 'vote' || stage === 'judge') {
      const { step, of } = next.value;
      const line = `${stage} ${Math.floor((10 * step) / of)}`;
      if (line !== shown) console.error(`${seconds}s ${stage} ${step}/${of}`);
      shown = line;
    } else {
      trace.push(next.value);
      console.error(`${seconds}s ${JSON.stringify(next.value, rounded)}`);
    }
  }
}

const rounded = (_: string, v: unknown) => (typeof v === 'number' ? Number(v.toPrecision(4)) : v);

const samples = settings['samples'] as string | undefined;
let sampled: BaseSamples;
if (samples && existsSync(samples)) {
  sampled = JSON.parse(readFileSync(samples, 'utf8')) as BaseSamples;
} else {
  const { votes, replies } = spec;
  const most = Math.max(votes, replies * Number(settings['sampledPrompts'] ?? 0));
  const judgedSamples = Number(settings['sampledJudged'] ?? spec.judgedSamples);
  sampled = await follow(sampleBase({ ...spec, votes: most, judgedSamples }, platform));
  if (samples) writeFileSync(samples, JSON.stringify(sampled));
}
const asked = spec.method === 'kto' ? spec.votes : Math.ceil(spec.votes / spec.replies);
const voted = sampled.voted.slice(0, asked);
const { result: _, ...report } = await follow(
  simulate({ ...spec, sampled: { ...sampled, voted } }, platform),
);
console.log(JSON.stringify({ settings, ...report, trace }));
process.exit(0);
