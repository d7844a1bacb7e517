// Our training in the page, a step for each message, on as many threads as the worker's name says.
import { blobSource, openGguf } from '@rapport/core';
import { startBackend } from '../../apps/web/src/workers/backend.ts';
import { trainingStep, type Stepped } from '../training-step.ts';
import { fileOf } from './engine.ts';

const threads = Number(self.name);
Object.defineProperty(navigator, 'hardwareConcurrency', {
  value: threads <= 4 ? threads : 2 * threads,
});

let step: Promise<() => Promise<Stepped>> | undefined;

async function start(): Promise<() => Promise<Stepped>> {
  const checkpoint = await openGguf(blobSource(await fileOf('/model.gguf', false)));
  return trainingStep(checkpoint, (await startBackend('wasm')).runtime);
}

self.onmessage = () => {
  step ??= start();
  void step
    .then((take) => take())
    .then(
      (stepped) => self.postMessage(stepped),
      (error: unknown) => self.postMessage({ error: String(error) }),
    );
};
