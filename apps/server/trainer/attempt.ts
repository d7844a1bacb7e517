// One attempt at a run, inside the child process: reads the spec, streams progress, writes the result
// last. What is trained is passed in.
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { mkdir } from 'node:fs/promises';
import { writeWhole } from '../store/write-whole.ts';
import { cancelFile, progressFile, resultFile } from './files.ts';
import { inWords } from '../store/full-disk.ts';
import type { Failure, RunSpec, TrainingResult } from './spec.ts';

/** Trains; yields progress, returns a finished result. Throws when `signal` aborts. */
export type Training = (
  spec: RunSpec,
  folder: string,
  signal: AbortSignal,
) => AsyncGenerator<{ readonly stage: string }, Extract<TrainingResult, { status: 'done' }>>;

const LOOK_FOR_CANCEL_MS = 300;

/** Runs `train` on the spec named by the command line, to the end of the process. */
export async function runAttempt(train: Training): Promise<never> {
  const [specPath = '', folder = dirname(specPath)] = process.argv.slice(2);
  const spec = JSON.parse(readFileSync(specPath, 'utf8')) as RunSpec;
  const stop = new AbortController();
  // The server holds the other end: when it is gone, nobody waits for the result.
  process.stdin.resume().once('end', () => process.exit(3));
  // Ctrl-C on a terminal reaches this process too; whoever started it asks it to end between two steps.
  process.on('SIGINT', () => {});
  const looking = setInterval(() => {
    if (existsSync(cancelFile(folder, spec.attempt))) stop.abort();
  }, LOOK_FOR_CANCEL_MS);
  await mkdir(spec.checkpoint, { recursive: true });
  const result = await follow(train(spec, folder, stop.signal), folder).catch(
    (error: unknown): TrainingResult =>
      stop.signal.aborted ? { status: 'cancelled' } : { status: 'failed', error: wordsOf(error) },
  );
  clearInterval(looking);
  await writeWhole(resultFile(folder, spec.attempt), JSON.stringify(result));
  process.exit(result.status === 'failed' ? 1 : 0);
}

async function follow(steps: ReturnType<Training>, folder: string): Promise<TrainingResult> {
  for (;;) {
    const step = await steps.next();
    if (step.done) return step.value;
    const line = JSON.stringify({ at: Date.now(), ...step.value });
    appendFileSync(progressFile(folder), `${line}\n`);
  }
}

function wordsOf(thrown: unknown): Failure {
  const error = inWords(thrown);
  const { code, message, remedy, stack } = error as Partial<Failure> & { stack?: string };
  if (code && remedy && message) return { code, message, remedy };
  return {
    code: 'training/failed',
    message: stack?.slice(0, 1500) ?? String(error),
    remedy: 'Look at the message; resume the run once its cause is gone.',
  };
}
