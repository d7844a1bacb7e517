// The server's way to our own kernels, for tests.
export {
  kernelModule,
  kernelRuntime,
  spawnKernelThread,
} from '../../apps/server/kernel-runtime.ts';
