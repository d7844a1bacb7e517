// A helper thread of the kernels: says that it listens, then serves until told to end.
import { parentPort, workerData } from 'node:worker_threads';
import { register } from 'tsx/esm/api';

register();
const { serveKernels } = await import('../../packages/core/src/runtime/simd/simd-runtime.ts');
parentPort?.postMessage('listening');
serveKernels(workerData);
