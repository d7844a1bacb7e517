// A trial of half a second: which engine computes the matrix products of one token first on this device.
// It knows no model; what it finds holds for the device, and is kept.
import type { Verdict } from './inference.ts';
import { verdictOf, type Trial } from './verdict.ts';

/** Waited for an engine after the one before it: one that is not ready by then slows every start. */
const PATIENCE_MS = 500;

/** The engine whose fastest round was shortest, with the milliseconds of each that was ready in time. */
export async function fastest(): Promise<Verdict> {
  const worker = new Worker(new URL('./probe.worker.ts', import.meta.url), {
    type: 'module',
    name: 'probe',
  });
  const trials: Trial[] = [];
  await new Promise<void>((done) => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    worker.onerror = () => done();
    worker.onmessage = ({ data }: MessageEvent<Trial | 'done'>) => {
      if (data === 'done') return done();
      trials.push(data);
      timer ??= setTimeout(done, PATIENCE_MS);
    };
  });
  worker.terminate();
  return verdictOf(trials);
}
