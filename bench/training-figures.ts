// The course of one training run as drawings for docs/training.md:
// `npx tsx bench/training-figures.ts RUN_FOLDER [--to docs/images]`, RUN_FOLDER being runs/ID of a data folder. Prints the
// figures that the text names.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { curves, figureWords, rewardFigures, svgOf } from '@rapport/rlhf';
import type { Drawing, RewardReport } from '@rapport/rlhf';

/** What one step of a stage reported. */
type Step = Record<string, number> & { stage: string };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { to: { type: 'string' } },
});
const [run] = positionals;
if (!run) {
  console.error('Usage: npx tsx bench/training-figures.ts RUN_FOLDER [--to FOLDER]');
  process.exit(2);
}
const to = values.to ?? fileURLToPath(new URL('../docs/images', import.meta.url));
const text = await readFile(join(run, 'progress.jsonl'), 'utf8');
const steps = text
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Step);
const names = (await readdir(run)).filter((name) => /^result-\d+\.json$/.test(name)).sort();
const { evaluation } = JSON.parse(await readFile(join(run, names.at(-1)!), 'utf8')) as {
  evaluation: Record<string, number> & { rewardModel: RewardReport };
};

const of = (stage: string) => steps.filter((step) => step.stage === stage);
const [dpo, ppo] = [of('dpo'), of('ppo')];

const course = (records: readonly Step[], metric: string, title: string, guide: number): Drawing =>
  curves({
    title,
    x: 'step',
    series: [{ name: title, points: records.map((r) => ({ x: r['step']!, y: r[metric]! })) }],
    guide,
  });

await mkdir(to, { recursive: true });
const files: [string, Drawing[], number][] = [
  ['training-reward.svg', rewardFigures(evaluation.rewardModel, figureWords), 1],
  [
    'training-dpo.svg',
    [
      course(dpo, 'loss', 'DPO: loss at each step (dotted: ln 2)', Math.LN2),
      course(dpo, 'margin', 'DPO: lead of the better reply, β·h', 0),
    ],
    2,
  ],
];
for (const [name, drawings, columns] of files)
  await writeFile(join(to, name), svgOf(drawings, columns));
const opened = of('open').at(-1);
const { rewardModel: _, ...measured } = evaluation;
console.log(
  JSON.stringify(
    { rankings: opened?.['rankings'], dpo: [dpo[0], dpo.at(-1)], ppo, ...measured },
    null,
    2,
  ),
);
