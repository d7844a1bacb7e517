// Starts a training worker and gives its typed port, with the way to end it.
import { RapportError } from '@rapport/core';
import { connect } from './channel.ts';
import type { Trainer, TrainingService } from './training.ts';

export interface StartedTrainer {
  trainer: Trainer;
  /** Ends the worker and frees all of its memory. */
  end(): void;
}

export function startTraining(): StartedTrainer {
  const worker = new Worker(new URL('./training.worker.ts', import.meta.url), {
    type: 'module',
    name: 'training',
  });
  const trainer = connect<TrainingService>(worker, (fail) => {
    worker.addEventListener('error', (event) => {
      fail(
        new RapportError(
          'training/crashed',
          `Training stopped: ${event.message || 'out of memory'}.`,
          'Close other tabs and programs to free memory, then resume.',
        ),
      );
    });
  });
  return { trainer, end: () => worker.terminate() };
}
