// One helper thread of our own kernels: it says that it listens, then serves until it is ended.
import { serveKernels, type KernelThread } from '@rapport/core';

self.onmessage = ({ data }: MessageEvent<KernelThread>) => {
  postMessage('listening');
  serveKernels(data);
};
