// The training process: opens the model, turns judgements into rankings, runs the pipeline of
// @rapport/rlhf, measures the result and leaves an adapter in PEFT layout.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Random, type Tokenizer } from '@rapport/core';
import {
  demonstrationRows,
  ordinaryText,
  runPipeline,
  type Demonstration,
  type PipelineSpec,
} from '@rapport/rlhf';
import { openModel, tokenizerOf } from '../models.ts';
import { nodeRuntime } from '../node-runtime.ts';
import { GOLDEN_TOLERANCE } from '../speaking.ts';
import type { DatasetRow } from '../store/datasets.ts';
import { runAttempt, type Training } from './attempt.ts';
import { Canaries } from './canaries.ts';
import { loadCheckpoint, saveCheckpoint } from './checkpoint.ts';
import { gateLimitsOf, gateOf } from './gate.ts';
import { measure } from './measure.ts';
import { outlierDevices } from './outlier-devices.ts';
import { readAdapter, writeAdapter } from './peft.ts';
import { writeReward } from './reward-file.ts';
import { activationBytes, rankingsIn, thumbsIn } from './room.ts';
import { safetyOf } from './screening.ts';
import type { RunSpec } from './spec.ts';

const ORDINARY_TEXT = fileURLToPath(new URL('./ordinary-text.jsonl', import.meta.url));
const LONGEST_DEMONSTRATION = 1024;
/** How the result is compared with the release in use; `config.arena` changes it. */
const ARENA = { prompts: 70, maxTokens: 256, temperature: 0.9 };
/** Rows of ordinary text mixed in, and rows measured; `config.text` changes it. */
const TEXT = { mixed: 64, measured: 40 };

const train: Training = async function* (spec, folder, signal) {
  yield { stage: 'open', step: 0, steps: 1 };
  const checkpoint = await openModel(spec.base);
  const tokenizer = await tokenizerOf(checkpoint);
  const runtime = await nodeRuntime(checkpoint);
  const { endOfTurn } = tokenizer;
  const most = { ...TEXT, ...(spec.config['text'] as Partial<typeof TEXT> | undefined) };
  const { text, heldOutText } = ordinaryText(
    await linesOf<Demonstration>(ORDINARY_TEXT),
    tokenizer,
    most.mixed,
  );
  const given = await linesOf<DatasetRow>(spec.rows);
  const { outlierDeviations } = safetyOf(spec.config['safety']);
  const model = { checkpoint, runtime, tokenizer };
  const outliers = await outlierDevices(given, outlierDeviations, model, signal);
  const rows = given.filter(({ device }) => !outliers.includes(device));
  const rankings = rankingsIn(rows, tokenizer);
  const thumbs = thumbsIn(rows, tokenizer);
  yield { stage: 'open', step: 1, steps: 1, rankings: rankings.length, thumbs: thumbs.length };

  const canaries = await Canaries.open(model);
  const limits = gateLimitsOf(spec.config['gate']);
  const resume = await loadCheckpoint(spec.checkpoint);
  // Checked when the run was started (config.ts).
  const { nllLimit, place, base, reward, dpo, ppo, kto, sft } =
    spec.config as Partial<PipelineSpec>;
  const result = yield* runPipeline(
    {
      rankings,
      thumbs,
      demonstrations: await demonstrations(spec, tokenizer),
      text,
      heldOutText: heldOutText.slice(0, most.measured),
      method: spec.kind,
      seed: spec.seed,
      ...(nllLimit !== undefined && { nllLimit }),
      ...(place && { place }),
      ...(base && { base }),
      ...(reward && { reward }),
      ...(dpo && { dpo }),
      ...(ppo && { ppo }),
      ...(kto && { kto }),
      ...(sft && { sft }),
    },
    {
      checkpoint,
      runtime,
      endOfTurn,
      activationBytes: activationBytes(),
      now: Date.now,
      isSound: async (adapter) =>
        (await canaries.ask(adapter, signal)).canariesBroken <= limits.canariesBroken,
      ...(resume && { resume }),
      save: (state) => saveCheckpoint(spec.checkpoint, state),
    },
    signal,
  );

  const current = spec.init && (await readAdapter(spec.init.path, spec.init));
  const arena = { ...ARENA, ...(spec.config['arena'] as Partial<typeof ARENA> | undefined) };
  const { golden, measures } = yield* measure(
    {
      ...arena,
      adapter: result.adapter,
      current,
      reward: result.reward,
      asked: limits.winRateLow,
      prompts: heldOutText.slice(0, arena.prompts).map(({ prompt }) => prompt),
      seed: spec.seed + 1,
    },
    model,
    canaries,
    signal,
  );
  const adapter = join(folder, `adapter-${spec.attempt}`);
  await writeAdapter(adapter, result.adapter);
  if (result.reward) await writeReward(adapter, result.reward);
  const { stopped } = result;
  const evaluation = { ...result.measures, ...measures, ...(stopped && { stopped }) };
  return {
    status: 'done',
    adapter,
    tokenizerDigest: tokenizer.digest,
    golden: { ...golden, tolerance: GOLDEN_TOLERANCE },
    gate: gateOf({ ...evaluation, nllChange: 100 * evaluation.nllChange }, limits),
    evaluation,
    outliers,
  };
};

async function linesOf<T>(file: string): Promise<T[]> {
  const lines = (await readFile(file, 'utf8')).split('\n').filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line) as T);
}

/** What `config.demonstrations` names, for SFT: a file of rows, and how many go before each as examples. */
async function demonstrations({ config, seed }: RunSpec, tokenizer: Tokenizer) {
  const named = config['demonstrations'] as { file: string; shots?: number } | undefined;
  if (!named) return [];
  const lines = await linesOf<Demonstration>(named.file);
  const { shots = 0 } = named;
  return demonstrationRows(lines, tokenizer, {
    shots,
    random: new Random(seed),
    longest: LONGEST_DEMONSTRATION,
  });
}

await runAttempt(train);
