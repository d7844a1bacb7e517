// Training in a child process of this machine. The child ends when its parent does: it holds the
// other end of a pipe. A child that dies leaves no result, and that is its result.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { writeWhole } from '../store/write-whole.ts';
import { checkConfig } from './config.ts';
import { cancelFile, linesFrom, progressFile, resultFile, specFile } from './files.ts';
import type { JobStatus, RunSpec, Trainer, TrainingResult } from './spec.ts';

const CHILD = fileURLToPath(new URL('./child.ts', import.meta.url));
const TSX = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
/** A server has 8 seconds to end, and a run goes on from its last step. */
const KILL_AFTER_MS = 5_000;
const LAST_WORDS = 2000;
/**
 * Tells glibc to keep what is freed, in huge pages: tensors come and go with every run of a graph, and a fifth of the
 * time went into fresh pages (docs/log.md). It costs a fifth more memory; other C libraries do not read it.
 */
export const allocator = {
  GLIBC_TUNABLES: [
    'glibc.malloc.hugetlb=1',
    'glibc.malloc.mmap_max=0',
    'glibc.malloc.trim_threshold=17179869184',
    'glibc.malloc.top_pad=67108864',
  ].join(':'),
};

interface Job {
  folder: string;
  attempt: number;
  child: ChildProcess;
  cancelled: boolean;
  ended: Promise<TrainingResult>;
  result?: TrainingResult;
}

export class LocalTrainer implements Trainer {
  readonly #jobs = new Map<string, Job>();
  readonly #childModule: string;
  readonly check: Trainer['check'];

  /** `check`: whether the child could train by a config. */
  constructor(childModule = CHILD, check: Trainer['check'] = checkConfig) {
    this.#childModule = childModule;
    this.check = check;
  }

  async submit(folder: string, spec: RunSpec): Promise<string> {
    const { attempt } = spec;
    await writeWhole(specFile(folder, attempt), JSON.stringify(spec, null, 2));
    const child = spawn(
      process.execPath,
      ['--import', TSX, this.#childModule, specFile(folder, attempt), folder],
      { stdio: ['pipe', 'ignore', 'pipe'], env: { ...allocator, ...process.env } },
    );
    let words = '';
    child.stderr!.on('data', (bytes: Buffer) => {
      words = (words + bytes.toString('utf8')).slice(-LAST_WORDS);
    });
    const job: Job = {
      folder,
      attempt,
      child,
      cancelled: false,
      ended: new Promise((done) => {
        child.once('error', (error) => done(died(error.message)));
        child.once('close', (code, signal) => {
          const how = signal ? `was ended by ${signal}` : `ended with code ${code}`;
          const without = job.cancelled ? CANCELLED : died(`${how}. ${words}`);
          void readResult(folder, attempt).then((result) => done(result ?? without));
        });
      }),
    };
    void job.ended.then((result) => (job.result = result));
    const ref = `${folder}#${attempt}`;
    this.#jobs.set(ref, job);
    return ref;
  }

  status(ref: string): Promise<JobStatus> {
    const { result } = this.#need(ref);
    return Promise.resolve(result ? { state: 'ended', result } : { state: 'running' });
  }

  logs(ref: string, cursor: number) {
    return linesFrom(progressFile(this.#need(ref).folder), cursor);
  }

  async cancel(ref: string): Promise<void> {
    const job = this.#need(ref);
    const { folder, attempt, child, ended } = job;
    job.cancelled = true;
    await writeFile(cancelFile(folder, attempt), '');
    const kill = setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS);
    await ended;
    clearTimeout(kill);
  }

  /** The result, once there is one. */
  ended(ref: string): Promise<TrainingResult> {
    return this.#need(ref).ended;
  }

  #need(ref: string): Job {
    const job = this.#jobs.get(ref);
    if (!job) throw new Error(`no job ${ref}`);
    return job;
  }
}

const CANCELLED: TrainingResult = { status: 'cancelled' };

const died = (how: string): TrainingResult => ({
  status: 'failed',
  error: {
    code: 'training/died',
    message: `The training process ${how.trim()}`,
    remedy: 'Free memory if it was ended by SIGKILL, then resume the run (rapport runs resume ID).',
  },
});

async function readResult(folder: string, attempt: number): Promise<TrainingResult | undefined> {
  const path = resultFile(folder, attempt);
  if (!existsSync(path)) return undefined;
  return JSON.parse(await readFile(path, 'utf8')) as TrainingResult;
}
