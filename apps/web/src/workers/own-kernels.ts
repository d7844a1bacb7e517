// Our own kernels in a browser: their module, and helper threads as workers where the page is isolated.
import {
  createSimdRuntime,
  RapportError,
  type HelperThread,
  type KernelThread,
  type SimdOptions,
  type SimdRuntime,
} from '@rapport/core';

/** A runtime on `threads` threads, which computes on the blocks that `readRaw` gives. */
export async function ownKernels(
  threads: number,
  readRaw: SimdOptions['readRaw'],
): Promise<SimdRuntime> {
  return createSimdRuntime({
    module: await kernelModule(),
    threads,
    ...(self.crossOriginIsolated && { spawn }),
    ...(readRaw && { readRaw }),
  });
}

/** The kernels with relaxed SIMD, or without where this browser does not know it. */
async function kernelModule(): Promise<WebAssembly.Module> {
  const { relaxed, plain } = await import('virtual:kernels');
  try {
    return await WebAssembly.compileStreaming(fetch(relaxed));
  } catch (error) {
    if (!(error instanceof WebAssembly.CompileError)) throw error;
    return WebAssembly.compileStreaming(fetch(plain));
  }
}

function spawn(thread: KernelThread): Promise<HelperThread> {
  const worker = new Worker(new URL('./kernel.worker.ts', import.meta.url), {
    type: 'module',
    name: `kernels ${thread.thread}`,
  });
  return new Promise((resolve, reject) => {
    worker.onmessage = () => resolve({ stop: () => worker.terminate() });
    worker.onerror = ({ message }) => {
      worker.terminate();
      reject(
        new RapportError(
          'workers/thread',
          `A helper thread did not start: ${message || 'out of memory'}.`,
          'Reload the page; if it happens again, choose another backend in the settings.',
        ),
      );
    };
    worker.postMessage(thread);
  });
}
