// Our own kernels on this machine: compiled when needed, with helper threads that are workers of Node.
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import {
  createSimdRuntime,
  type Checkpoint,
  type HelperThread,
  type KernelThread,
  type SimdRuntime,
} from '@rapport/core';
import { buildKernels } from '../../packages/core/kernels/build.mjs';

let module: Promise<WebAssembly.Module> | undefined;

export function kernelModule(): Promise<WebAssembly.Module> {
  module ??= buildKernels()
    .then((path) => readFile(path))
    .then((bytes) => WebAssembly.compile(new Uint8Array(bytes)));
  return module;
}

/** A helper thread as a worker of Node; it does not keep the process alive. */
export function spawnKernelThread(thread: KernelThread): Promise<HelperThread> {
  const worker = new Worker(new URL('./kernel-thread.mjs', import.meta.url), {
    workerData: thread,
  });
  return new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('message', () => {
      worker.unref();
      resolve({ stop: async () => void (await worker.terminate()) });
    });
  });
}

/** A runtime that computes on the quantised blocks of `checkpoint` as they are stored. */
export async function kernelRuntime(checkpoint: Checkpoint): Promise<SimdRuntime> {
  return createSimdRuntime({
    module: await kernelModule(),
    threads: Number(process.env['RAPPORT_THREADS'] ?? availableParallelism()),
    spawn: spawnKernelThread,
    readRaw: async (name) => checkpoint.readRaw?.(name),
  });
}
