// The same training by our own autodiff in Node and in Chromium, and by PyTorch, on the same cores: a step, in turn; a
// course of DPO, one engine after the other; rollouts. Each engine does each in a process of its own, so that its
// memory is that of this work.
import { existsSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeSafetensors, type Checkpoint, type NamedTensor } from '@rapport/core';
import { cacheFolder } from '../apps/server/model-source/cache.mjs';
import { allocator } from '../apps/server/trainer/local.ts';
import { realCheckpoint } from '../tests/support/checkpoint.ts';
import { modelFiles } from '../tests/support/model.ts';
import { Child } from './child.ts';
import { PYTORCH, TRAINING_NODE, TRAINING_PAGE } from './engines.ts';
import { configJson } from './onnx-export.ts';
import { call, openBrowser, servePage, type BenchBrowser } from './page-server.ts';
import { pythonWith } from './python.ts';
import { missingRow, rowOf, type Row } from './rows.ts';
import {
  ROW_TOKENS,
  ROWS,
  TRAINED,
  TRAINING_FULL,
  TRAINING_QUICK,
  type TrainingSizes,
} from './training-names.ts';
import { flopsOfStep, type Peak, type Trained } from './training-work.ts';
import { named, ROLLOUTS } from './workloads.ts';

interface Trainer {
  ask<T>(line: string): Promise<Peak<T>>;
  stop(): Promise<void> | void;
}
type Starts = Readonly<Record<string, () => Promise<Trainer>>>;

const suite = 'training';
const LIMIT_MS = 2000;
const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

export async function training(quick: boolean, threads: number): Promise<Row[]> {
  const sizes = quick ? TRAINING_QUICK : TRAINING_FULL;
  const checkpoint = await realCheckpoint();
  // Looked for once: without it, every search for it would end in the same way.
  let python: Promise<PythonFiles> | undefined;
  // As `rapport train` starts it.
  const node = async () => childTrainer(path('./training-child.ts'), [`${threads}`], allocator);
  const starts: Starts = {
    [PYTORCH]: async () => {
      const { interpreter, weights, config } = await (python ??= pythonFiles(checkpoint));
      const parameters = [path('./peers/train.py'), weights, config, `${threads}`];
      return childTrainer(interpreter, parameters);
    },
    [TRAINING_NODE]: node,
    [TRAINING_PAGE]: () => pageTrainer(threads),
  };
  return [
    ...(await steps(starts, checkpoint, sizes)),
    await arithmetic(threads),
    ...(await courses(starts, sizes)),
    ...(await rollouts({ [TRAINING_NODE]: node }, sizes)),
  ];
}

/** Rows of those who can do a workload, then of those who cannot. */
class Report {
  readonly #workload: string;
  readonly #rows: Row[] = [];
  readonly #missing: Row[] = [];

  constructor(workload: string) {
    this.#workload = workload;
  }

  add(engine: string, [metric, unit]: readonly [string, string], runs: readonly number[]): void {
    const what = { suite, workload: this.#workload, engine, metric, unit };
    if (runs.length > 0) this.#rows.push(rowOf(what, runs));
  }

  drop(engine: string, error: unknown): void {
    this.#missing.push(missingRow({ suite, workload: this.#workload, engine }, error));
  }

  get rows(): Row[] {
    return [...this.#rows, ...this.#missing];
  }
}

/** Steps in turn, and what a plain product of matrices reaches beside theirs. */
async function steps(
  starts: Starts,
  checkpoint: Checkpoint,
  { rounds, side }: TrainingSizes,
): Promise<Row[]> {
  const report = new Report(TRAINED.step);
  const trainers = new Map<string, Trainer>();
  const all = new Map<string, Peak<Trained>[]>();
  const limits = new Map<string, number>();
  const running: Trainer[] = [];
  const drop = (engine: string, error: unknown) => {
    report.drop(engine, error);
    trainers.delete(engine);
  };
  try {
    for (const [engine, start] of Object.entries(starts)) {
      try {
        const trainer = await start();
        running.push(trainer);
        limits.set(engine, (await trainer.ask<{ flops: number }>(`products ${side}`)).flops);
        trainers.set(engine, trainer);
      } catch (error) {
        drop(engine, error);
      }
    }
    for (let round = 0; round < rounds; round++) {
      for (const [engine, trainer] of [...trainers]) {
        await trainer.ask<Trained>('step').then(
          (stepped) => all.set(engine, [...(all.get(engine) ?? []), stepped]),
          (error) => drop(engine, error),
        );
      }
    }
  } finally {
    for (const trainer of running) await trainer.stop();
  }
  const flops = flopsOfStep(checkpoint);
  for (const [engine, steps] of all) {
    // The first step plans memory and chooses kernels.
    const timed = steps.slice(1);
    const perSecond = (amount: number) => timed.map(({ ms }) => (amount * 1000) / ms);
    report.add(engine, TRAINED.speed, perSecond(ROWS * ROW_TOKENS));
    report.add(engine, TRAINED.products, perSecond(flops / 1e9));
    addPeak(report, engine, steps);
    report.add(engine, ['loss of the first step', 'nats'], [steps[0]!.loss]);
  }
  for (const [engine, flops] of limits) {
    const label = `limit: one product of ${side} × ${side}, ${engine}`;
    report.add(label, TRAINED.products, [flops / 1e9]);
  }
  return report.rows;
}

function addPeak(report: Report, engine: string, all: readonly Peak<object>[]): void {
  const peaks = all.flatMap(({ peakBytes }) => (peakBytes ? [peakBytes / 1e6] : []));
  if (peaks.length > 0) report.add(engine, TRAINED.peak, [Math.max(...peaks)]);
}

/** What a loop of WASM SIMD reaches that does nothing else. */
async function arithmetic(threads: number): Promise<Row> {
  const engine = 'limit of this machine';
  const workload = 'fp32 in WASM SIMD, all threads';
  try {
    const { page, stop } = await openPage();
    const { flops } = await call(page, 'limits', threads, LIMIT_MS).finally(stop);
    return rowOf({ suite, workload, engine, metric: 'arithmetic', unit: 'GFLOP/s' }, [flops / 1e9]);
  } catch (error) {
    return missingRow({ suite, workload, engine }, error);
  }
}

/** DPO from pairs to an adapter, once. */
async function courses(starts: Starts, sizes: TrainingSizes): Promise<Row[]> {
  const report = new Report(TRAINED.dpo(sizes));
  await alone(starts, report, async (trainer, engine) => {
    const course = await trainer.ask<Trained>(`dpo ${sizes.pairs} ${sizes.epochs}`);
    report.add(engine, TRAINED.time, [course.ms / 1000]);
    addPeak(report, engine, [course]);
    report.add(engine, ['loss of the first step', 'nats'], [course.loss]);
  });
  return report.rows;
}

/** Replies by the trainer's speaker. */
async function rollouts(starts: Starts, { tokens, rounds }: TrainingSizes): Promise<Row[]> {
  const rows: Row[] = [];
  for (const sideBySide of [1, ROLLOUTS]) {
    const report = new Report(named.rollouts(sideBySide));
    await alone(starts, report, async (trainer, engine) => {
      const speeds: number[] = [];
      for (let i = 0; i < Math.min(3, rounds); i++) {
        const line = `rollouts ${sideBySide} ${tokens}`;
        speeds.push((await trainer.ask<{ tokensPerSecond: number }>(line)).tokensPerSecond);
      }
      report.add(engine, TRAINED.speed, speeds);
    });
    rows.push(...report.rows);
  }
  return rows;
}

/** One engine after the other, each begun and ended. */
async function alone(
  starts: Starts,
  report: Report,
  act: (trainer: Trainer, engine: string) => Promise<void>,
): Promise<void> {
  for (const [engine, start] of Object.entries(starts)) {
    let trainer: Trainer | undefined;
    try {
      trainer = await start();
      await act(trainer, engine);
    } catch (error) {
      report.drop(engine, error);
    } finally {
      await trainer?.stop();
    }
  }
}

function childTrainer(...started: ConstructorParameters<typeof Child>): Trainer {
  const child = new Child(...started);
  return { ask: (line) => child.ask(line), stop: () => child.stop() };
}

async function pageTrainer(threads: number): Promise<Trainer> {
  const { page, browser, stop } = await openPage();
  return {
    async ask<T>(line: string) {
      const answered = (await call(page, 'train', threads, line)) as T;
      const peakBytes = await browser.peakBytes();
      return { ...answered, ...(peakBytes && { peakBytes }) };
    },
    stop,
  };
}

/** A page of the bench in a browser of its own. */
async function openPage() {
  const server = await servePage();
  let browser: BenchBrowser | undefined;
  const stop = async () => {
    await browser?.close();
    await server.close();
  };
  try {
    browser = await openBrowser(server.address);
    return { browser, page: await browser.open(), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface PythonFiles {
  interpreter: string;
  weights: string;
  config: string;
}

/** A Python with PyTorch, and our weights in fp32 for it. */
async function pythonFiles(checkpoint: Checkpoint): Promise<PythonFiles> {
  const interpreter = await pythonWith(['numpy', 'torch']);
  const { digest = 'local' } = await modelFiles();
  const folder = join(cacheFolder(), 'bench', `${digest.slice(0, 16)}-fp32`);
  const weights = join(folder, 'model.safetensors');
  const config = join(folder, 'config.json');
  if (!existsSync(weights)) {
    await mkdir(folder, { recursive: true });
    const tensors = new Map<string, NamedTensor>();
    for (const [name, { shape }] of checkpoint.tensors) {
      tensors.set(name, { shape, data: await checkpoint.read(name) });
    }
    await writeFile(config, configJson(checkpoint.config));
    await writeFile(`${weights}.part`, writeSafetensors(tensors));
    await rename(`${weights}.part`, weights);
  }
  return { interpreter, weights, config };
}
