// Our engine on kernels on the blocks of the file, or on ONNX Runtime Web in fp32, on the processor or on graphics.
// The worker's name says on which, and on how many threads.
import { blobSource, openGguf } from '@rapport/core';
import { startBackend } from '../../apps/web/src/workers/backend.ts';
import { OwnEngine } from '../own-engine.ts';
import { fileOf, serve } from './engine.ts';

const [engine, threads] = self.name.split(' ') as ['simd' | 'wasm' | 'webgpu', string];
// The product takes all of up to four cores, and half of more.
const cores = Number(threads) <= 4 ? Number(threads) : 2 * Number(threads);
Object.defineProperty(navigator, 'hardwareConcurrency', { value: cores });

serve(
  new OwnEngine(async (kept) => {
    const file = await fileOf('/model.gguf', kept);
    const { tokenizer, ...checkpoint } = await openGguf(blobSource(file));
    const { runtime } = await startBackend(engine, checkpoint);
    return { checkpoint, tokenizer, runtime };
  }),
);
