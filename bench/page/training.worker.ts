// Our training in the page, a piece of work for each message, on as many threads as the worker's name says.
import { blobSource, openGguf } from '@rapport/core';
import { startBackend } from '../../apps/web/src/workers/backend.ts';
import { USUAL_BUDGET } from '../../apps/web/src/workers/plan.ts';
import { trainingWork } from '../training-work.ts';
import { fileOf } from './engine.ts';

const threads = Number(self.name);
Object.defineProperty(navigator, 'hardwareConcurrency', {
  value: threads <= 4 ? threads : 2 * threads,
});

/** As much as a device of 4 GB has left beside the weights. */
const ofStep = { activationBytes: 256 * 2 ** 20 };
/** What the product's page takes where nothing was measured. */
const ofCourse = { budgetTokens: USUAL_BUDGET };

let work: Promise<ReturnType<typeof trainingWork>> | undefined;

async function start(): Promise<ReturnType<typeof trainingWork>> {
  const checkpoint = await openGguf(blobSource(await fileOf('/model.gguf', false)));
  return trainingWork(checkpoint, (await startBackend('wasm')).runtime, { ofStep, ofCourse });
}

self.onmessage = ({ data: line }: MessageEvent<string>) => {
  work ??= start();
  void work
    .then((answer) => answer(line))
    .then(
      (answered) => self.postMessage(answered),
      (error: unknown) => self.postMessage({ error: String(error) }),
    );
};
