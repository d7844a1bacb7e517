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

/** The kernels with relaxed SIMD, or without where this Node does not know it (before version 22). */
export function kernelModule(): Promise<WebAssembly.Module> {
  module ??= compiled();
  return module;
}

async function compiled(): Promise<WebAssembly.Module> {
  const { relaxed, plain } = await buildKernels();
  const bytes = new Uint8Array(await readFile(relaxed));
  return WebAssembly.compile(
    WebAssembly.validate(bytes) ? bytes : new Uint8Array(await readFile(plain)),
  );
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
export async function kernelRuntime(
  checkpoint: Checkpoint,
  module = kernelModule(),
): Promise<SimdRuntime> {
  return createSimdRuntime({
    module: await module,
    threads: Number(process.env['RAPPORT_THREADS'] ?? availableParallelism()),
    spawn: spawnKernelThread,
    readRaw: async (name) => checkpoint.readRaw?.(name),
  });
}
