// The server's way to our own kernels, for tests, and each of the two modules by name.
import { readFile } from 'node:fs/promises';
import { buildKernels } from '../../packages/core/kernels/build.mjs';

export {
  kernelModule,
  kernelRuntime,
  spawnKernelThread,
} from '../../apps/server/kernel-runtime.ts';

const read = async (kind: 'plain' | 'relaxed') =>
  new Uint8Array(await readFile((await buildKernels())[kind]));

/** The kernels with relaxed SIMD or without, whatever this Node prefers. */
export const kernelModuleOf = async (kind: 'plain' | 'relaxed'): Promise<WebAssembly.Module> =>
  WebAssembly.compile(await read(kind));

/** Whether this Node has relaxed SIMD: from version 22 on. */
export const hasRelaxedSimd = async (): Promise<boolean> =>
  WebAssembly.validate(await read('relaxed'));
