// A trial of half a second: which engine computes the matrix products of one token first on this device.
// It knows no model; what it finds holds for the device, and is kept.
import type { Engine, Verdict } from './inference.ts';

/** Waited for an engine after the one before it: one that is not ready by then slows every start. */
const PATIENCE_MS = 500;

/** The engine whose median round was shortest, with the milliseconds of each that was ready in time. */
export async function fastest(): Promise<Verdict> {
  const worker = new Worker(new URL('./probe.worker.ts', import.meta.url), {
    type: 'module',
    name: 'probe',
  });
  const ms: Verdict['ms'] = {};
  await new Promise<void>((done) => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    worker.onerror = () => done();
    worker.onmessage = ({ data }: MessageEvent<{ engine: Engine; ms: number } | 'done'>) => {
      if (data === 'done') return done();
      ms[data.engine] = data.ms;
      timer ??= setTimeout(done, PATIENCE_MS);
    };
  });
  worker.terminate();
  return verdictOf(ms);
}

/** Where nothing could be measured, the engine that needs least. */
export function verdictOf(ms: Verdict['ms']): Verdict {
  const ranked = Object.entries(ms).sort((a, b) => a[1] - b[1]);
  return { engine: (ranked[0]?.[0] ?? 'simd') as Engine, ms };
}
