// A child process that trains nothing, for tests of runs: steps, stops, dies and resumes as its
// config says, and leaves a tiny adapter.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { runAttempt } from './attempt.ts';
import { writeAdapter } from './peft.ts';

/** The device of the first row. */
const deviceOf = (rows: string): string =>
  (JSON.parse(readFileSync(rows, 'utf8').split('\n')[0]!) as { device: string }).device;

interface Plan {
  steps: number;
  /** Dies without a word at this step, in the first attempt. */
  dieAt?: number;
  /** Throws at this step, in the first attempt. */
  throwAt?: number;
  passed?: boolean;
  /** Finds its first device an outlier. */
  strange?: boolean;
  /** Does not look whether it was cancelled. */
  deaf?: boolean;
}

await runAttempt(async function* (spec, folder, signal) {
  const {
    steps,
    dieAt,
    throwAt,
    passed = true,
    deaf = false,
    strange = false,
  } = spec.config as unknown as Plan;
  const first = spec.attempt === 1;
  const mark = join(spec.checkpoint, 'reached');
  const from = existsSync(mark) ? 3 : 0;
  for (let step = from; step < steps; step++) {
    if (!deaf) signal.throwIfAborted();
    if (first && step === dieAt) process.kill(process.pid, 'SIGKILL');
    if (first && step === throwAt) throw new Error('no luck');
    if (step === 3) writeFileSync(mark, '');
    yield { stage: 'pretend', step, attempt: spec.attempt };
    await sleep(20);
  }
  const adapter = join(folder, `adapter-${spec.attempt}`);
  const part = { a: Float32Array.of(1, 2), b: Float32Array.of(spec.seed) };
  await writeAdapter(adapter, { rank: 1, alpha: 2, targets: new Map([['model.q', part]]) });
  return {
    status: 'done',
    adapter,
    tokenizerDigest: '0'.repeat(64),
    gate: { passed, checks: [] },
    evaluation: { winRate: 0.7 },
    ...(strange && { outliers: [deviceOf(spec.rows)] }),
  };
});
