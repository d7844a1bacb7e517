// A trial of half a second at most: which engine computes the matrix products of one token first on this device, and
// right. It knows no model; what it finds holds for the device, and is kept.
import type { Verdict } from './inference.ts';
import { verdictOf, type Trial } from './verdict.ts';

/** A person waits meanwhile, and an engine that is not ready by then would slow every start. */
export const LIMIT_MS = 500;

/** The right engine whose fastest round was shortest, with the milliseconds of each that was ready in time. */
export async function fastest(start = startProbe): Promise<Verdict> {
  const fromMs = performance.now();
  const worker = start();
  const trials: Trial[] = [];
  const whole = await new Promise<boolean>((end) => {
    setTimeout(end, LIMIT_MS, false);
    worker.onerror = () => end(false);
    worker.onmessage = ({ data }: MessageEvent<Trial | 'done'>) => {
      if (data === 'done') end(true);
      else trials.push(data);
    };
  });
  worker.terminate();
  return { ...verdictOf(trials), whole, tookMs: performance.now() - fromMs };
}

const startProbe = (): Pick<Worker, 'onerror' | 'onmessage' | 'terminate'> =>
  new Worker(new URL('./probe.worker.ts', import.meta.url), { type: 'module', name: 'probe' });
