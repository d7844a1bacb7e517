// Starts the inference worker and gives its typed port.
import { RapportError } from '@rapport/core';
import { connect } from './channel.ts';
import type { Inference, InferenceService } from './inference.ts';

export function startInference(): Inference {
  const worker = new Worker(new URL('./inference.worker.ts', import.meta.url), {
    type: 'module',
    name: 'inference',
  });
  return connect<InferenceService>(worker, (fail) => {
    worker.addEventListener('error', (event) => {
      fail(
        new RapportError(
          'workers/crashed',
          `The inference worker stopped: ${event.message || 'out of memory'}.`,
          'Reload the page; if it happens again, close other tabs first.',
        ),
      );
    });
  });
}
