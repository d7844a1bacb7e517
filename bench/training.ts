// The same training step by our own autodiff in Node and in Chromium, and by PyTorch: on the same cores, in turn.
import { existsSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeSafetensors, type Checkpoint, type NamedTensor } from '@rapport/core';
import { cacheFolder } from '../apps/server/model-source/cache.mjs';
import { realCheckpoint } from '../tests/support/checkpoint.ts';
import { modelFiles } from '../tests/support/model.ts';
import { Child } from './child.ts';
import { configJson } from './onnx-export.ts';
import { openBrowser, servePage } from './page-server.ts';
import { pythonWith } from './python.ts';
import { missingRow, rowOf, type Row } from './rows.ts';
import { flopsOfStep, ROW_TOKENS, ROWS, type Stepped } from './training-step.ts';

interface Trainer {
  step(): Promise<Stepped>;
  stop(): Promise<void> | void;
}

const WORKLOAD = `LoRA r = 8 on all linears, ${ROWS} × ${ROW_TOKENS} tokens`;
const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

export async function training(quick: boolean, threads: number): Promise<Row[]> {
  const checkpoint = await realCheckpoint();
  const starts: Record<string, () => Promise<Trainer>> = {
    'PyTorch fp32': () => torch(checkpoint, threads),
    'own autodiff, Node': async () => childTrainer(path('./training-child.ts'), [`${threads}`]),
    'own autodiff, Chromium WASM': () => page(threads),
  };
  const rows: Row[] = [];
  const steps = new Map<string, Stepped[]>();
  const trainers = new Map<string, Trainer>();
  const drop = (engine: string, error: unknown) => {
    rows.push(missingRow({ suite: 'training', workload: WORKLOAD, engine }, error));
    trainers.delete(engine);
  };
  for (const [engine, start] of Object.entries(starts)) {
    await start().then(
      (trainer) => trainers.set(engine, trainer),
      (error) => drop(engine, error),
    );
  }
  const running = [...trainers.values()];
  try {
    for (let round = 0; round < (quick ? 2 : 8); round++) {
      for (const [engine, trainer] of [...trainers]) {
        await trainer.step().then(
          (stepped) => steps.set(engine, [...(steps.get(engine) ?? []), stepped]),
          (error) => drop(engine, error),
        );
      }
    }
  } finally {
    for (const trainer of running) await trainer.stop();
  }
  const flops = flopsOfStep(checkpoint);
  return [...[...steps].flatMap(([engine, all]) => figures(engine, all, flops)), ...rows];
}

function figures(engine: string, all: readonly Stepped[], flops: number): Row[] {
  // The first step plans memory and chooses kernels.
  const timed = all.slice(1);
  if (timed.length === 0) return [];
  const row = (metric: string, unit: string, runs: number[]) =>
    rowOf({ suite: 'training', workload: WORKLOAD, engine, metric, unit }, runs);
  const peaks = all.flatMap(({ peakBytes }) => (peakBytes ? [peakBytes / 1e6] : []));
  return [
    row(
      'speed',
      'tokens/s',
      timed.map(({ ms }) => (ROWS * ROW_TOKENS * 1000) / ms),
    ),
    row(
      'matrix products',
      'GFLOP/s',
      timed.map(({ ms }) => flops / ms / 1e6),
    ),
    ...(peaks.length > 0 ? [row('peak memory', 'MB', [Math.max(...peaks)])] : []),
    row('loss of the first step', 'nats', [all[0]!.loss]),
  ];
}

function childTrainer(command: string, parameters: readonly string[]): Trainer {
  const child = new Child(command, parameters);
  return { step: () => child.ask<Stepped>('step'), stop: () => child.stop() };
}

async function torch(checkpoint: Checkpoint, threads: number): Promise<Trainer> {
  const python = await pythonWith(['numpy', 'torch']);
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
  return childTrainer(python, [path('./peers/train.py'), weights, config, `${threads}`]);
}

async function page(threads: number): Promise<Trainer> {
  const server = await servePage();
  const browser = await openBrowser(server.address);
  const stop = async () => {
    await browser.close();
    await server.close();
  };
  try {
    const page = await browser.open();
    return {
      async step() {
        const stepped = await page.evaluate((threads) => {
          const { bench } = globalThis as unknown as {
            bench: { train(threads: number): Promise<Stepped> };
          };
          return bench.train(threads);
        }, threads);
        const peakBytes = await browser.peakBytes();
        return peakBytes === undefined ? stepped : { ...stepped, peakBytes };
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
