// The kernels of packages/core, compiled when needed, and threads for them in Node.
import { readFile } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import { buildKernels } from '../../packages/core/kernels/build.mjs';
import type { HelperThread, KernelThread } from '@rapport/core';

let module: Promise<WebAssembly.Module> | undefined;

export function kernelModule(): Promise<WebAssembly.Module> {
  module ??= buildKernels()
    .then((path) => readFile(path))
    .then((bytes) => WebAssembly.compile(new Uint8Array(bytes)));
  return module;
}

/** A helper thread as a worker of Node. */
export function spawnKernelThread(thread: KernelThread): Promise<HelperThread> {
  const worker = new Worker(new URL('./kernel-thread.mjs', import.meta.url), {
    workerData: thread,
  });
  return new Promise((resolve, reject) => {
    worker.once('message', () => resolve({ stop: async () => void (await worker.terminate()) }));
    worker.once('error', reject);
  });
}
