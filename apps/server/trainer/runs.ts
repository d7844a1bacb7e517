// Training runs: started, followed, cancelled, resumed, and turned into releases. The run table is the
// truth; only the newest attempt of a run may write its end.
import { randomInt } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RapportError, type BaseModel } from '@rapport/core';
import { readBy } from '@rapport/rlhf';
import { buildRelease } from '../releases/build.ts';
import { currentChannel, offerTrained } from '../releases/channel.ts';
import { ownBase, useBase } from '../releases/model.ts';
import { addRelease, findBase, findRelease } from '../releases/registry.ts';
import { audit } from '../store/audit.ts';
import type { Blobs } from '../store/blobs.ts';
import type { Database } from '../store/database.ts';
import {
  findDataset,
  freezeDataset,
  learnedRows,
  listDatasets,
  type DatasetRow,
} from '../store/datasets.ts';
import { enrolments } from '../store/devices.ts';
import { inWords } from '../store/full-disk.ts';
import { countJudgements } from '../store/events.ts';
import type { RunStatus, RunTable } from '../store/schema.ts';
import { recall, remember } from '../store/settings.ts';
import { uuidv7 } from '../store/uuid.ts';
import { writeWhole } from '../store/write-whole.ts';
import { checkpointOf } from './checkpoint.ts';
import { cancelFile, linesFrom, progressFile, rowsFile, specFile } from './files.ts';
import type { LocalTrainer } from './local.ts';
import { gateLimitsOf } from './gate.ts';
import { safetyOf, screen } from './screening.ts';
import type {
  Failure,
  Gate,
  Method,
  ProgressRecord,
  Publish,
  RunSpec,
  TrainingResult,
} from './spec.ts';

export interface RunRequest {
  method?: Method | undefined;
  /** Id of a dataset; without it a new one is frozen, or the newest taken when nothing is new. */
  dataset?: string | undefined;
  publish?: Publish | undefined;
  config?: Record<string, unknown> | undefined;
  /** The base to train; while no release is stable, it becomes the server's own with the start. */
  base?: BaseModel | undefined;
}

/** A run as people see it. */
export interface Run {
  id: string;
  method: string;
  status: RunStatus;
  dataset: string;
  publish: string;
  attempt: number;
  release: string | null;
  gate: Gate | null;
  evaluation: Record<string, unknown> | null;
  /** Why its release was not published although it passed its gate. */
  held: string | null;
  error: string | null;
  failure: Failure | null;
  createdAt: number;
  finishedAt: number | null;
}

/** "When so many new votes have come, train": null is never. */
export interface Schedule {
  votes: number;
  method: Method;
  publish: Publish;
}

interface Surroundings {
  db: Database;
  blobs: Blobs;
  dataFolder: string;
  runsFolder: string;
  trainer: LocalTrainer;
  /** How long another process has to stop a run it works on. */
  patienceMs?: number;
}

/** The release of a run, and why it was not published if it should have been. */
interface Kept {
  release: string;
  held: string | null;
}

/** A run that this process works on. */
interface Job {
  ref: string;
  ended: Promise<void>;
}

const FOLLOW_EVERY_MS = 250;
const SCHEDULE_EVERY_MS = 60_000;
const BEAT_EVERY_MS = 10_000;
/** An owner that has been silent for so long is gone, whoever has its process id now. */
const GONE_AFTER_MS = 60_000;
const PATIENCE_MS = 15_000;

export class Runs {
  readonly #around: Surroundings;
  readonly #trainer: LocalTrainer;
  /** The runs of this process; null while an attempt is being prepared. */
  readonly #active = new Map<string, Job | null>();
  readonly #beating: NodeJS.Timeout;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #starting: Promise<unknown> = Promise.resolve();
  #stopping = false;
  #told: string | undefined;

  constructor(around: Surroundings) {
    this.#around = around;
    this.#trainer = around.trainer;
    this.#beating = setInterval(() => void this.#beat().catch(() => {}), BEAT_EVERY_MS).unref();
  }

  /** Starts a run; it goes on by itself. Throws `dataset/*`, `base/*`, `run/busy`, `train/bad-config`. */
  start(request: RunRequest, actor = 'cli'): Promise<Run> {
    return this.#oneByOne(() => this.#start(request, actor));
  }

  async #start(request: RunRequest, actor: string): Promise<Run> {
    const { db } = this.#around;
    await this.#needIdle();
    const { method = 'ppo', publish = 'candidate', config = {}, base } = request;
    safetyOf(config['safety']);
    gateLimitsOf(config['gate']);
    this.#trainer.check(config);
    const { stable } = await this.#inUse(base);
    const dataset = await this.#datasetFor(request.dataset);
    if (base && stable === 'base') await useBase(db, base);
    const id = uuidv7();
    const seed = typeof config['seed'] === 'number' ? config['seed'] : randomInt(2 ** 31);
    await db
      .insertInto('runs')
      .values({
        id,
        method,
        config: JSON.stringify({ ...config, seed }),
        dataset: dataset.id,
        publish,
        status: 'queued',
        attempt: 0,
        owner_pid: null,
        alive_at: Date.now(),
        release: null,
        gate: null,
        evaluation: null,
        held: null,
        error: null,
        created_at: Date.now(),
        finished_at: null,
      })
      .execute();
    await audit(db, actor, 'run.start', { run: id, method, dataset: dataset.id, publish });
    await this.#attempt(id);
    return this.show(id);
  }

  /** Goes on with a run that failed or was cancelled, from its last checkpoint. */
  resume(name: string, actor = 'cli'): Promise<Run> {
    return this.#oneByOne(() => this.#resume(name, actor));
  }

  async #resume(name: string, actor: string): Promise<Run> {
    const { id, status } = await this.show(name);
    if (status !== 'failed' && status !== 'cancelled')
      throw new RapportError(
        'run/not-resumable',
        `Run ${id} is ${status}; only a failed or cancelled run can go on.`,
        'Start a new one with rapport train.',
      );
    await this.#needIdle();
    await audit(this.#around.db, actor, 'run.resume', { run: id });
    await this.#attempt(id);
    return this.show(id);
  }

  /** Stops a run, whichever process works on it. Throws `run/not-stopped`. */
  async cancel(name: string, actor = 'cli'): Promise<Run> {
    await this.#starting;
    const run = await this.show(name);
    const { db } = this.#around;
    if (run.status === 'running' || run.status === 'queued') {
      await audit(db, actor, 'run.cancel', { run: run.id });
      const active = this.#active.get(run.id);
      if (active) {
        await this.#trainer.cancel(active.ref);
        await active.ended;
      } else await this.#askToCancel(run);
    }
    return this.show(run.id);
  }

  /** Runs, newest first. */
  async list(): Promise<Run[]> {
    const rows = await this.#around.db
      .selectFrom('runs')
      .selectAll()
      .orderBy('created_at', 'desc')
      .execute();
    return rows.map(runOf);
  }

  /** The run of that id, or of the only one that begins so. Throws `run/unknown`. */
  async show(name: string): Promise<Run> {
    const all = await this.list();
    const found = all.filter(({ id }) => id.startsWith(name));
    if (found.length === 1) return found[0]!;
    throw new RapportError(
      'run/unknown',
      found.length > 1 ? `Several runs begin with ${name}.` : `There is no run ${name}.`,
      'See rapport runs list.',
    );
  }

  /** The progress of a run from its beginning, until it has ended or `signal` aborts. */
  async *progress(id: string, signal?: AbortSignal): AsyncGenerator<ProgressRecord> {
    const path = progressFile(this.#folder(id));
    let cursor = 0;
    for (;;) {
      const { status } = await this.show(id);
      const more = await linesFrom(path, cursor);
      cursor = more.cursor;
      for (const line of more.lines) yield JSON.parse(line) as ProgressRecord;
      if ((status !== 'running' && status !== 'queued') || signal?.aborted) return;
      await sleep(FOLLOW_EVERY_MS, undefined, { signal }).catch(() => {});
    }
  }

  /** Waits for a run of this process to end. */
  async wait(id: string): Promise<Run> {
    await this.#active.get(id)?.ended;
    return this.show(id);
  }

  /** Runs whose owner is gone have failed; whatever came before them is untouched. */
  async failOrphans(): Promise<void> {
    const { db } = this.#around;
    const rows = await db
      .selectFrom('runs')
      .selectAll()
      .where('status', 'in', ['queued', 'running'])
      .execute();
    for (const row of rows) {
      if (!this.#isForsaken(row)) continue;
      const { id, attempt } = row;
      await this.#finish(id, attempt, {
        status: 'failed',
        error: {
          code: 'training/interrupted',
          message: 'The server ended while this run was under way.',
          remedy: `Resume it: rapport runs resume ${id}`,
        },
      });
    }
  }

  async schedule(): Promise<Schedule | null> {
    const text = await recall(this.#around.db, 'schedule');
    return text ? (JSON.parse(text) as Schedule) : null;
  }

  /** Sets, or with null ends, the schedule. */
  async setSchedule(schedule: Schedule | null, actor = 'cli'): Promise<void> {
    await remember(this.#around.db, 'schedule', schedule && JSON.stringify(schedule));
    await audit(this.#around.db, actor, 'schedule', { schedule });
  }

  /**
   * Looks at the schedule every minute, since a command or an import may have changed what counts; the
   * server calls it, a command does not.
   */
  startSchedule(): void {
    this.#timer = setInterval(() => this.noticeEvents(), SCHEDULE_EVERY_MS);
    this.#timer.unref();
  }

  /** New judgements came: starts a run when the schedule says so. */
  noticeEvents(): void {
    if (!this.#timer || this.#looking || this.#stopping) return;
    this.#looking = this.#followSchedule()
      .catch((error: Error) => this.#tellOnce(error))
      .finally(() => (this.#looking = undefined));
  }

  /** Ends the runs of this process; they can be resumed. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#timer);
    await this.#looking;
    await this.#starting;
    const active = [...this.#active.values()].filter((job) => job !== null);
    await Promise.all(active.map(({ ref }) => this.#trainer.cancel(ref)));
    await Promise.all(active.map(({ ended }) => ended));
    clearInterval(this.#beating);
  }

  /** Why the schedule cannot start a run, once for each reason: it is tried again every minute. */
  async #tellOnce({ message }: Error): Promise<void> {
    if (message === this.#told) return;
    this.#told = message;
    await audit(this.#around.db, 'schedule', 'run.refused', { message }).catch(() => {});
  }

  async #followSchedule(): Promise<void> {
    await this.failOrphans();
    const schedule = await this.schedule();
    if (!schedule) return;
    const { unused } = await countJudgements(this.#around.db);
    if (unused < schedule.votes) return;
    const busy = (await this.list()).some(({ status }) => status === 'running');
    if (!busy) await this.start({ method: schedule.method, publish: schedule.publish }, 'schedule');
  }

  /** Two at once would both find nothing under way. */
  #oneByOne<T>(start: () => Promise<T>): Promise<T> {
    const started = this.#starting.then(start);
    this.#starting = started.catch(() => {});
    return started;
  }

  async #needIdle(): Promise<void> {
    if (this.#stopping)
      throw new RapportError(
        'run/stopping',
        'The server is about to end.',
        'Start it again first.',
      );
    await this.failOrphans();
    const [busy] = (await this.list()).filter(({ status }) => status === 'running');
    if (!busy) return;
    throw new RapportError(
      'run/busy',
      `Run ${busy.id} is under way, and one is trained at a time.`,
      `Wait for it, or cancel it: rapport runs cancel ${busy.id}`,
    );
  }

  /**
   * The stable release with its base and adapter; without one, "base" and the base that is asked for,
   * or else the server's own. Throws `base/none`, and `base/other` when the stable release stands on
   * another base than the one asked for.
   */
  async #inUse(asked?: BaseModel) {
    const { db, dataFolder } = this.#around;
    const { stable } = (await currentChannel(db, dataFolder)).signed;
    if (stable === 'base') return { stable, base: asked ?? (await ownBase(db)), adapter: null };
    const { base, adapter = null } = (await findRelease(db, stable)).envelope.signed;
    if (!asked || asked.digest === base.digest) return { stable, base, adapter };
    throw new RapportError(
      'base/other',
      `The stable release ${stable.slice(0, 12)} stands on ${base.name}; ${asked.name} cannot be trained beside it.`,
      'Train without --model (and RAPPORT_MODEL), or make the other model stable first: rapport release build --base SPEC, then rapport release promote ID.',
    );
  }

  async #datasetFor(name: string | undefined) {
    const { db } = this.#around;
    if (name) return findDataset(db, name);
    if ((await countJudgements(db)).unused > 0) return freezeDataset(db);
    const [newest] = await listDatasets(db);
    return newest ?? freezeDataset(db);
  }

  async #attempt(id: string): Promise<void> {
    this.#active.set(id, null);
    try {
      await this.#begin(id);
    } finally {
      if (!this.#active.get(id)) this.#active.delete(id);
    }
  }

  /** Begins the next attempt; from here on no earlier one can end the run. */
  async #begin(id: string): Promise<void> {
    const { db } = this.#around;
    const row = await db
      .updateTable('runs')
      .set(({ eb }) => ({
        attempt: eb('attempt', '+', 1),
        status: 'running',
        owner_pid: process.pid,
        alive_at: Date.now(),
        error: null,
        finished_at: null,
      }))
      .where('id', '=', id)
      .returningAll()
      .executeTakeFirstOrThrow();
    const prepared = await this.#prepare(row).catch((error: unknown) => asFailure(error));
    if ('status' in prepared) return this.#finish(id, row.attempt, prepared);
    const ref = await this.#trainer
      .submit(this.#folder(id), prepared)
      .catch((error: unknown) => asFailure(error));
    if (typeof ref !== 'string') return this.#finish(id, row.attempt, ref);
    const ended = this.#trainer
      .ended(ref)
      .then((result) => this.#finish(id, row.attempt, result))
      .catch((error: unknown) => this.#finish(id, row.attempt, asFailure(error)))
      // A store that takes nothing any more: `failOrphans` marks the run when it does again.
      .catch(() => {})
      .finally(() => this.#active.delete(id));
    this.#active.set(id, { ref, ended });
  }

  async #prepare(row: RunTable): Promise<RunSpec> {
    const { db, blobs } = this.#around;
    const folder = this.#folder(row.id);
    const dataset = await findDataset(db, row.dataset);
    const { stable, base, adapter } = await this.#inUse();
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const config = JSON.parse(row.config) as Record<string, unknown> & { seed: number };
    const { rows, setAside } = await screenedRows(db, row);
    const text = rows.map((item) => `${JSON.stringify(item)}\n`).join('');
    await writeWhole(rowsFile(folder), text);
    const files = [];
    for (const { name, digest } of base.files)
      files.push({ name, path: (await blobs.need(digest)).path });
    return {
      run: row.id,
      attempt: row.attempt,
      kind: row.method as Method,
      base: { digest: base.digest, format: base.format, files },
      stable,
      init: adapter
        ? {
            release: stable,
            path: (await blobs.need(adapter.digest)).path,
            rank: adapter.rank,
            alpha: adapter.alpha,
            targets: adapter.targets,
          }
        : null,
      dataset: { id: dataset.id, digest: dataset.digest },
      rows: rowsFile(folder),
      setAside,
      checkpoint: await checkpointOf(folder, [base.digest, row.config, text]),
      config,
      seed: config.seed,
    };
  }

  async #finish(id: string, attempt: number, result: TrainingResult): Promise<void> {
    const path = rowsFile(this.#folder(id));
    const { lines } = await linesFrom(path, 0);
    const rows = lines.map((line) => JSON.parse(line) as DatasetRow);
    // The judgements were copied for the child alone: an erasure must find no copy left.
    await rm(path, { force: true });
    if (result.status !== 'done') return this.#end(id, attempt, result);
    const kept = await this.#release(id, attempt, result, rows).catch((error: unknown) =>
      this.#end(id, attempt, asFailure(error)),
    );
    if (kept) await this.#end(id, attempt, result, kept);
  }

  /** Keeps what was trained on the rows it was given as a release; publishes it when its gate was passed. */
  async #release(
    id: string,
    attempt: number,
    result: Extract<TrainingResult, { status: 'done' }>,
    given: readonly DatasetRow[],
  ): Promise<Kept | void> {
    const { db, blobs, dataFolder } = this.#around;
    const row = await this.#row(id);
    if (row.attempt !== attempt || row.status !== 'running') return;
    const dataset = await findDataset(db, row.dataset);
    const { adapter, tokenizerDigest, golden, evaluation, gate } = result;
    const text = await readFile(specFile(this.#folder(id), attempt), 'utf8');
    const spec = JSON.parse(text) as RunSpec;
    const rows = given.filter(({ device }) => !result.outliers?.includes(device));
    const setAside = { ...spec.setAside, outlier: given.length - rows.length };
    const learned = new Map<string, number>();
    for (const { device } of rows) learned.set(device, (learned.get(device) ?? 0) + 1);
    const release = await buildRelease(blobs, {
      base: await findBase(db, spec.base.digest),
      adapterFolder: adapter,
      tokenizerDigest,
      ...(golden && { golden }),
      evaluation: { ...evaluation, setAside, method: row.method, gate },
      dataset: { digest: dataset.digest, count: rows.length, devices: learned.size },
      parents: [],
    });
    const origin = { run: id, dataset: dataset.id, since: row.created_at, learned };
    const released = await addRelease(db, dataFolder, release, origin);
    const held = gate.passed ? await this.#publish(row, spec, released) : null;
    await audit(db, 'run', 'release', { run: id, release: released, passed: gate.passed });
    return { release: released, held };
  }

  /** Gives a release to whom its run was for; where a person must decide that, says why instead. */
  async #publish(
    { id, publish }: RunTable,
    { stable, base }: RunSpec,
    release: string,
  ): Promise<string | null> {
    const { db, dataFolder } = this.#around;
    const to = publish as Publish;
    if (to === 'no') return null;
    try {
      await offerTrained(db, dataFolder, { release, to, stable, base: base.digest });
      return null;
    } catch (error) {
      if (!(error instanceof RapportError) || error.code !== 'release/held') throw error;
      await audit(db, 'run', 'release.held', { run: id, release, why: error.message });
      return `${error.message} ${error.remedy}`;
    }
  }

  /** Writes the end of a run, once, and only for its newest attempt. */
  async #end(id: string, attempt: number, result: TrainingResult, kept?: Kept): Promise<void> {
    const done = result.status === 'done' ? result : undefined;
    await this.#around.db
      .updateTable('runs')
      .set({
        status: result.status,
        release: kept?.release ?? null,
        held: kept?.held ?? null,
        gate: done ? JSON.stringify(done.gate) : null,
        evaluation: done ? JSON.stringify(done.evaluation) : null,
        error: result.status === 'failed' ? JSON.stringify(result.error) : null,
        finished_at: Date.now(),
      })
      .where('id', '=', id)
      .where('attempt', '=', attempt)
      .where('status', 'in', ['queued', 'running'])
      .execute();
  }

  /** Says that this process still works on its runs. */
  async #beat(): Promise<void> {
    const mine = [...this.#active.keys()];
    if (mine.length === 0) return;
    await this.#around.db
      .updateTable('runs')
      .set({ alive_at: Date.now() })
      .where('id', 'in', mine)
      .where('owner_pid', '=', process.pid)
      .execute();
  }

  /** Whether nobody works on a run that is not over: its process has ended, or says nothing any more. */
  #isForsaken({ id, owner_pid: pid, alive_at }: RunTable): boolean {
    if (this.#active.has(id)) return false;
    if (Date.now() - (alive_at ?? 0) > GONE_AFTER_MS) return true;
    return pid !== null && (pid === process.pid || !isAlive(pid));
  }

  /** Another process works on it: leaves a note where its child looks, and waits. */
  async #askToCancel({ id, attempt }: Run): Promise<void> {
    const folder = this.#folder(id);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeWhole(cancelFile(folder, attempt), '');
    const giveUpAt = Date.now() + (this.#around.patienceMs ?? PATIENCE_MS);
    for (;;) {
      const row = await this.#row(id);
      if (row.status !== 'running' && row.status !== 'queued') return;
      if (this.#isForsaken(row)) return this.#finish(id, row.attempt, { status: 'cancelled' });
      if (Date.now() > giveUpAt) throw notStopped(row);
      await sleep(FOLLOW_EVERY_MS);
    }
  }

  #row(id: string): Promise<RunTable> {
    return this.#around.db
      .selectFrom('runs')
      .selectAll()
      .where('id', '=', id)
      .executeTakeFirstOrThrow();
  }

  #folder(id: string): string {
    return join(this.#around.runsFolder, id);
  }
}

/**
 * The judgements that a run learns from: of its dataset and those before, as things stood when it was
 * started, less what its limits set aside and what its method cannot read. Throws `dataset/set-aside`.
 */
async function screenedRows(db: Database, run: RunTable) {
  const { safety, demonstrations } = JSON.parse(run.config) as Record<string, unknown>;
  const all = await learnedRows(db, run.dataset);
  const screened = screen(all, await enrolments(db), run.created_at, safetyOf(safety));
  const rows = readBy(run.method as Method, screened.rows);
  const setAside = { ...screened.setAside, undecided: screened.rows.length - rows.length };
  const shown = run.method === 'sft' && demonstrations !== undefined;
  if (rows.length > 0 || all.length === 0 || shown) return { rows, setAside };
  throw new RapportError(
    'dataset/set-aside',
    `None of the ${all.length} judgements can be learned from: ${JSON.stringify(setAside)}.`,
    'Collect rankings that prefer something, or good and bad thumbs (not for --method dpo or sft), wait for more devices or time, or change "safety" in the config (see docs/operating.md).',
  );
}

const notStopped = ({ id, owner_pid }: RunTable) =>
  new RapportError(
    'run/not-stopped',
    `Run ${id} was asked to stop, and process ${owner_pid} still works on it.`,
    `Ask again in a minute: rapport runs cancel ${id}; if it goes on all the same, end that process.`,
  );

function runOf(row: RunTable): Run {
  const failure = row.error ? (JSON.parse(row.error) as Failure) : null;
  return {
    id: row.id,
    method: row.method,
    status: row.status,
    dataset: row.dataset,
    publish: row.publish,
    attempt: row.attempt,
    release: row.release,
    gate: row.gate ? (JSON.parse(row.gate) as Gate) : null,
    evaluation: row.evaluation ? (JSON.parse(row.evaluation) as Record<string, unknown>) : null,
    held: row.held,
    error: failure?.message ?? null,
    failure,
    createdAt: row.created_at,
    finishedAt: row.finished_at,
  };
}

function asFailure(thrown: unknown): Extract<TrainingResult, { status: 'failed' }> {
  const error = inWords(thrown);
  const known = error instanceof RapportError;
  return {
    status: 'failed',
    error: {
      code: known ? error.code : 'training/failed',
      message: (error as Error).message,
      remedy: known ? error.remedy : 'Look at the message, then resume the run.',
    },
  };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
