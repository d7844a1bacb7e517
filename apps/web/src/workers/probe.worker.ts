// Tries the engines one after the other and posts what each took. A worker of its own: when it is
// ended, all that the slower engines took is given back.
import { hasGraphics, startBackend } from './backend.ts';
import { trialBlocks, tryEngine } from './engine-trial.ts';
import type { Engine } from './inference.ts';
import { allowOwnScripts } from './trusted-scripts.ts';

/** Our own kernels come first: they start soonest and need least. Then graphics are asked for, which may take long. */
async function* candidates(): AsyncGenerator<Engine> {
  yield 'simd';
  const graphics = hasGraphics();
  yield 'wasm';
  if (await graphics) yield 'webgpu';
}

async function trial(engine: Engine) {
  const { runtime } = await startBackend(engine, { readRaw: async (name) => trialBlocks(name) });
  return tryEngine(engine, runtime);
}

async function tryAll(): Promise<void> {
  for await (const engine of candidates()) {
    const found = await trial(engine).catch(() => undefined);
    if (found) postMessage(found);
  }
  postMessage('done');
}

allowOwnScripts();
void tryAll();
