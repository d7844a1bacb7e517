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

/**
 * The kernels with relaxed SIMD or without, whatever this Node prefers. With a mark below 128 they are others to the engine,
 * which compiles them anew: a section that means nothing ends them.
 */
export async function kernelModuleOf(
  kind: 'plain' | 'relaxed',
  mark?: number,
): Promise<WebAssembly.Module> {
  const bytes = await read(kind);
  if (mark === undefined) return WebAssembly.compile(bytes);
  const custom = [0, 3, 1, 'm'.charCodeAt(0), mark];
  return WebAssembly.compile(Uint8Array.from([...bytes, ...custom]));
}

/** Whether this Node has relaxed SIMD: from version 22 on. */
export const hasRelaxedSimd = async (): Promise<boolean> =>
  WebAssembly.validate(await read('relaxed'));
