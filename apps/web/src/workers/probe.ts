// A trial of half a second: which engine computes the matrix products of one token first on this device.
// It knows no model; what it finds holds for the device, and is kept.
import type { Verdict } from './inference.ts';
import { verdictOf, type Trial } from './verdict.ts';

/** Waited for an engine after the one before it: one that is not ready by then slows every start. */
const PATIENCE_MS = 500;
/** Of the whole trial: a driver may never answer. */
const LIMIT_MS = 2000;

/** The engine whose fastest round was shortest, with the milliseconds of each that was ready in time. */
export async function fastest(start = startProbe): Promise<Verdict> {
  const worker = start();
  const trials: Trial[] = [];
  await new Promise<void>((done) => {
    setTimeout(done, LIMIT_MS);
    worker.onerror = () => done();
    worker.onmessage = ({ data }: MessageEvent<Trial | 'done'>) => {
      if (data === 'done') return done();
      if (trials.push(data) === 1) setTimeout(done, PATIENCE_MS);
    };
  });
  worker.terminate();
  return verdictOf(trials);
}

const startProbe = (): Pick<Worker, 'onerror' | 'onmessage' | 'terminate'> =>
  new Worker(new URL('./probe.worker.ts', import.meta.url), { type: 'module', name: 'probe' });
