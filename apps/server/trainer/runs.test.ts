import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Context } from '../context.ts';
import { currentChannel, halt, offerCandidate, promote } from '../releases/channel.ts';
import { modelOfClients, ownBase, useBase } from '../releases/model.ts';
import { findRelease, learnedFrom } from '../releases/registry.ts';
import { enrol, listDevices } from '../store/devices.ts';
import { eraseDevice, readReceipt } from '../store/erasure.ts';
import { auditLog } from '../store/audit.ts';
import { remember } from '../store/settings.ts';
import { anErasure, aRanking, aVote } from '../store/test-store.ts';
import { countJudgements, takeEvents } from '../store/events.ts';
import { anotherBase, contextWithVotes, temporaryContext } from '../test-context.ts';
import { LocalTrainer } from './local.ts';
import { Runs, type Run } from './runs.ts';

const coded = (code: string) => expect.objectContaining({ code });

async function ended(config: Record<string, unknown>, publish: 'candidate' | 'stable' = 'stable') {
  const context = await contextWithVotes();
  const { id } = await context.runs.start({ config: { seed: 5, ...config }, publish });
  return { ...context, id, run: await context.runs.wait(id) };
}
const until = async (test: () => Promise<boolean>) => {
  while (!(await test())) await sleep(20);
};

describe('a run', () => {
  test('becomes a signed release that says what it learned from', async () => {
    const { db, dataFolder, runs, id, run } = await ended({ steps: 3 });
    expect(run).toMatchObject({ status: 'done', attempt: 1, error: null });
    const { envelope } = await findRelease(db, run.release!);
    expect(envelope.signed).toMatchObject({
      adapter: { rank: 1, alpha: 2, targets: ['model.q'] },
      dataset: { count: 2, devices: 1 },
      evaluation: { winRate: 0.7 },
    });
    expect((await currentChannel(db, dataFolder)).signed.stable).toBe(run.release);
    const steps = [];
    for await (const { step } of runs.progress(id)) steps.push(step);
    expect(steps).toEqual([0, 1, 2]);
  });

  test('that does not pass its gate is kept and not published', async () => {
    const { db, dataFolder, run } = await ended({ steps: 1, passed: false });
    expect(run).toMatchObject({ status: 'done', gate: { passed: false } });
    expect((await currentChannel(db, dataFolder)).signed.stable).toBe('base');
  });

  test('as candidate begins with a small share of devices', async () => {
    const { db, dataFolder, run } = await ended({ steps: 1 }, 'candidate');
    const { stable, candidate } = (await currentChannel(db, dataFolder)).signed;
    expect([stable, candidate?.release, candidate?.percent]).toEqual(['base', run.release, 1]);
  });

  test('keeps the base it was trained on, whatever the server has by then', async () => {
    const context = await contextWithVotes();
    const { db, runs } = context;
    const trained = await ownBase(db);
    const { id } = await runs.start({ config: { seed: 5, steps: 10 }, publish: 'no' });
    await useBase(db, await anotherBase(context));
    const { release } = await runs.wait(id);
    expect((await findRelease(db, release!)).envelope.signed.base).toEqual(trained);
  });

  test('leaves no copy of the judgements behind', async () => {
    const { dataFolder, id } = await ended({ steps: 1 });
    expect(existsSync(join(dataFolder, 'runs', id, 'rows.jsonl'))).toBe(false);
  });

  test('learns from what its safety limits leave, and the release says what was set aside', async () => {
    const { db, run } = await ended({ steps: 1, safety: { deviceFloor: 1 } });
    expect((await findRelease(db, run.release!)).envelope.signed).toMatchObject({
      dataset: { count: 1, devices: 1 },
      evaluation: { setAside: { deviceShare: 1, quotedReply: 0 } },
    });
    const { device, release } = { device: (await listDevices(db))[0]!.id, release: run.release! };
    expect(await learnedFrom(db, release, device)).toBe(1);
    const none = await ended({ steps: 1, safety: { devicesPerPrompt: 2 } });
    expect(none.run).toMatchObject({ status: 'failed', failure: { code: 'dataset/set-aside' } });
  });

  test('whose votes were erased on the way is flagged, and no receipt calls it clean', async () => {
    const context = await contextWithVotes();
    const { db, runs, device } = context;
    const { id } = await runs.start({ config: { seed: 5, steps: 20 } });
    const { receipt } = await eraseDevice(db, device);
    const { release } = await runs.wait(id);
    expect((await findRelease(db, release!)).flagged).toBe(true);
    expect((await readReceipt(db, receipt)).cleanRelease).toBeNull();
    // The next one learns from what is left.
    const other = await enrol(db);
    await takeEvents(db, other.device, [aRanking()]);
    const next = await runs.wait((await runs.start({ config: { seed: 6, steps: 1 } })).id);
    expect((await readReceipt(db, receipt)).cleanRelease).toBe(next.release);
  });

  test('does not count a device that training found to be an outlier', async () => {
    const { db, runs } = await contextWithVotes();
    const other = await enrol(db);
    await takeEvents(db, other.device, [aRanking()]);
    const { id } = await runs.start({ config: { seed: 5, steps: 1, strange: true } });
    const { release } = await runs.wait(id);
    expect((await findRelease(db, release!)).envelope.signed).toMatchObject({
      dataset: { devices: 1, count: 1 },
      evaluation: { setAside: { outlier: 2 } },
    });
    expect(await learnedFrom(db, release!, other.device)).toBe(1);
  });

  test('counts what it learned from, not the ties and the thumbs it cannot read', async () => {
    const context = await contextWithVotes();
    const { db, runs, device } = context;
    await takeEvents(db, device, [aRanking([1, 1]), aVote()]);
    const run = await runs.wait((await runs.start({ config: { seed: 5, steps: 1 } })).id);
    expect((await findRelease(db, run.release!)).envelope.signed).toMatchObject({
      dataset: { count: 2, devices: 1 },
      evaluation: { setAside: { undecided: 2 } },
    });
    expect(await learnedFrom(db, run.release!, device)).toBe(2);
    expect(await learnedFrom(db, run.release!, 'nobody')).toBe(0);
  });

  test('takes the base asked for only when it starts, and none beside a stable release', async () => {
    const context = await contextWithVotes();
    const { db, dataFolder, runs } = context;
    const [tiny, other] = [await ownBase(db), await anotherBase(context)];
    const { id } = await runs.start({ config: { steps: 500 } });
    await expect(runs.start({ base: other })).rejects.toThrow(coded('run/busy'));
    expect(await modelOfClients(db, dataFolder)).toEqual(tiny);
    await runs.cancel(id);
    const next = await runs.start({ base: other, config: { steps: 1 }, publish: 'stable' });
    const { release } = await runs.wait(next.id);
    expect((await findRelease(db, release!)).envelope.signed.base).toEqual(other);
    await expect(runs.start({ base: tiny })).rejects.toThrow(coded('base/other'));
    expect(await modelOfClients(db, dataFolder)).toEqual(other);
  });

  test.each(['gate', 'safety', 'dpo'])(
    'with a wrong "%s" is refused before a vote is taken',
    async (group) => {
      const { db, runs } = await contextWithVotes();
      await expect(runs.start({ config: { [group]: { strict: 1 } } })).rejects.toThrow(
        coded('train/bad-config'),
      );
      expect(await runs.list()).toEqual([]);
      expect((await countJudgements(db)).unused).toBe(2);
    },
  );

  test('can learn from demonstrations where no judgement can be read', async () => {
    const { db, runs, device } = await contextWithVotes();
    await eraseDevice(db, device);
    const other = await enrol(db);
    await takeEvents(db, other.device, [aVote()]);
    const sft = async (config: Record<string, unknown>) =>
      runs.wait((await runs.start({ method: 'sft', config: { steps: 1, ...config } })).id);
    expect((await sft({})).failure).toMatchObject({ code: 'dataset/set-aside' });
    const { release } = await sft({ demonstrations: { file: '/rows.jsonl' } });
    expect((await findRelease(db, release!)).envelope.signed).toMatchObject({
      dataset: { count: 0, devices: 0 },
      evaluation: { setAside: { undecided: 1 } },
    });
  });

  test('without anything to learn from is refused', async () => {
    const { runs } = await temporaryContext();
    await expect(runs.start({})).rejects.toThrow(coded('dataset/empty'));
  });
});

describe('a release of a run is kept back', () => {
  /** There is a release; a run that publishes its own is under way, and `meanwhile` something happens. */
  async function held(
    publish: 'candidate' | 'stable',
    meanwhile: (context: Context, earlier: string) => Promise<unknown>,
  ) {
    const context = await contextWithVotes();
    const { db, dataFolder, runs } = context;
    const first = await runs.start({ config: { seed: 1, steps: 1 }, publish: 'no' });
    const earlier = (await runs.wait(first.id)).release!;
    const { id } = await runs.start({ config: { seed: 5, steps: 20 }, publish });
    await meanwhile(context, earlier);
    const before = (await currentChannel(db, dataFolder)).signed;
    const run = await runs.wait(id);
    expect(run).toMatchObject({ status: 'done', gate: { passed: true } });
    await findRelease(db, run.release!);
    expect((await currentChannel(db, dataFolder)).signed).toEqual(before);
    expect(run.held).toContain(`rapport release publish ${run.release}`);
    const log = await auditLog(db);
    expect(log).toContainEqual(
      expect.objectContaining({
        action: 'release.held',
        detail: { run: id, release: run.release, why: expect.any(String) },
      }),
    );
    return { before, earlier };
  }

  test.each(['candidate', 'stable'] as const)(
    'when the channel was halted, as %s',
    async (publish) => {
      const { before, earlier } = await held(publish, async ({ db, dataFolder }, id) => {
        await offerCandidate(db, dataFolder, id);
        await halt(db, dataFolder);
      });
      expect(before).toMatchObject({ stable: 'base', freeze: true, blocked: [earlier] });
    },
  );

  test.each(['candidate', 'stable'] as const)(
    'when another candidate is being tried, as %s',
    async (publish) => {
      const { before, earlier } = await held(publish, ({ db, dataFolder }, id) =>
        offerCandidate(db, dataFolder, id, 25),
      );
      expect(before.candidate).toMatchObject({ release: earlier, percent: 25 });
    },
  );

  test('but not for a candidate that nobody has raised: it gives way', async () => {
    const { db, dataFolder, runs } = await contextWithVotes();
    const first = await runs.start({ config: { seed: 1, steps: 1 }, publish: 'candidate' });
    await runs.wait(first.id);
    const second = await runs.start({ config: { seed: 5, steps: 1 }, publish: 'candidate' });
    const { release, held } = await runs.wait(second.id);
    expect(held).toBeNull();
    expect((await currentChannel(db, dataFolder)).signed.candidate?.release).toBe(release);
  });

  test('when devices have another release by then than the one it was compared with', async () => {
    const { before, earlier } = await held('stable', ({ db, dataFolder }, id) =>
      promote(db, dataFolder, id),
    );
    expect(before.stable).toBe(earlier);
  });

  test('when devices have another base by then than the one it was trained on', async () => {
    const { before } = await held('candidate', async (context) =>
      useBase(context.db, await anotherBase(context)),
    );
    expect(before).toMatchObject({ stable: 'base', freeze: false });
  });
});

describe('when things go wrong', () => {
  test('a child that dies leaves the run failed, and it goes on where it was', async () => {
    const { runs, id, run } = await ended({ steps: 6, dieAt: 5 });
    expect(run).toMatchObject({ status: 'failed', failure: { code: 'training/died' } });
    expect(run.error).toContain('SIGKILL');
    await runs.resume(id);
    expect(await runs.wait(id)).toMatchObject({ status: 'done', attempt: 2 });
    const steps = [];
    for await (const { step, attempt } of runs.progress(id)) if (attempt === 2) steps.push(step);
    expect(steps).toEqual([3, 4, 5]);
  });

  test('a run whose judgements changed meanwhile begins again', async () => {
    const { db, runs, device, id } = await ended({ steps: 6, dieAt: 5 });
    const ranking = await db.selectFrom('events').select('id').executeTakeFirstOrThrow();
    await takeEvents(db, device, [anErasure(ranking.id)]);
    await runs.resume(id);
    expect(await runs.wait(id)).toMatchObject({ status: 'done', attempt: 2 });
    const steps = [];
    for await (const { step, attempt } of runs.progress(id)) if (attempt === 2) steps.push(step);
    expect(steps).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test('a child that throws says why', async () => {
    const { run } = await ended({ steps: 3, throwAt: 1 });
    expect(run).toMatchObject({ status: 'failed', release: null });
    expect(run.error).toContain('no luck');
  });

  test('a run can be cancelled, and another one cannot start meanwhile', async () => {
    const { runs } = await contextWithVotes();
    const { id } = await runs.start({ config: { steps: 500 } });
    await expect(runs.start({})).rejects.toThrow(coded('run/busy'));
    expect((await runs.cancel(id)).status).toBe('cancelled');
    expect((await runs.show(id)).failure).toBeNull();
  });

  test('of two starts at once one is refused, and the other goes its way', async () => {
    const { runs } = await contextWithVotes();
    const starts = [1, 2].map((seed) => runs.start({ config: { steps: 3, seed } }));
    const [first, second] = await Promise.allSettled(starts);
    expect(second).toMatchObject({ status: 'rejected', reason: coded('run/busy') });
    const { id } = (first as PromiseFulfilledResult<Run>).value;
    expect((await runs.wait(id)).status).toBe('done');
  });

  test('a child that does not listen is killed, and its run is cancelled', async () => {
    const { runs } = await contextWithVotes();
    const { id } = await runs.start({ config: { steps: 500, deaf: true } });
    await until(async () => {
      for await (const { stage } of runs.progress(id, AbortSignal.abort())) return stage !== '';
      return false;
    });
    expect((await runs.cancel(id)).status).toBe('cancelled');
  });

  test('a server that stopped leaves its run resumable', async () => {
    const context = await contextWithVotes();
    const { id } = await context.runs.start({ config: { steps: 500 } });
    await context.runs.stop();
    expect((await context.runs.show(id)).status).toBe('cancelled');
  });

  test('a run whose process is gone has failed', async () => {
    const { db, runs, id } = await ended({ steps: 1 });
    // No process has this id: it is above the limit of every system.
    const gone = { status: 'running', owner_pid: 2 ** 30 } as const;
    await db.updateTable('runs').set(gone).where('id', '=', id).execute();
    await runs.failOrphans();
    expect(await runs.show(id)).toMatchObject({
      status: 'failed',
      failure: { code: 'training/interrupted' },
    });
  });

  test('a run whose owner has fallen silent has failed, whoever has its process id now', async () => {
    const { db, runs, id } = await ended({ steps: 1 });
    const set = (values: { alive_at: number; status?: 'running'; owner_pid?: number }) =>
      db.updateTable('runs').set(values).where('id', '=', id).execute();
    await set({ status: 'running', owner_pid: process.ppid, alive_at: Date.now() });
    await runs.failOrphans();
    expect((await runs.show(id)).status).toBe('running');
    await set({ alive_at: Date.now() - 61_000 });
    await runs.failOrphans();
    expect(await runs.show(id)).toMatchObject({
      status: 'failed',
      failure: { code: 'training/interrupted' },
    });
  });

  test('cancelled, a run whose owner is gone has ended; one that goes on is said to go on', async () => {
    const { db, blobs, dataFolder, runs, id } = await ended({ steps: 1 });
    const owned = (alive_at: number) =>
      db
        .updateTable('runs')
        .set({ status: 'running', owner_pid: process.ppid, alive_at })
        .where('id', '=', id)
        .execute();
    await owned(Date.now() - 61_000);
    expect(await runs.cancel(id)).toMatchObject({ status: 'cancelled', failure: null });
    await owned(Date.now());
    const hasty = new Runs({
      ...{ db, blobs, dataFolder, runsFolder: join(dataFolder, 'runs') },
      trainer: new LocalTrainer(),
      patienceMs: 0,
    });
    onTestFinished(() => hasty.stop());
    await expect(hasty.cancel(id)).rejects.toThrow(coded('run/not-stopped'));
    expect((await runs.show(id)).status).toBe('running');
  });

  test('the owner of a run says every ten seconds that it works on it', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    onTestFinished(() => void vi.useRealTimers());
    const { db, runs } = await contextWithVotes();
    const { id } = await runs.start({ config: { steps: 500 } });
    await db.updateTable('runs').set({ alive_at: 0 }).where('id', '=', id).execute();
    const alive = db.selectFrom('runs').select('alive_at').where('alive_at', '>', 0);
    vi.advanceTimersByTime(10_000);
    await until(async () => (await alive.execute()).length === 1);
  });

  test('an attempt that was overtaken publishes nothing', async () => {
    const { db, dataFolder, runs } = await contextWithVotes();
    const { id } = await runs.start({ config: { steps: 10 }, publish: 'stable' });
    await db.updateTable('runs').set({ attempt: 7 }).where('id', '=', id).execute();
    const run: Run = await runs.wait(id);
    expect(run).toMatchObject({ status: 'running', attempt: 7, release: null });
    expect((await currentChannel(db, dataFolder)).signed.stable).toBe('base');
  });
});

test('a schedule that cannot start a run says why, once', async () => {
  const { db, runs } = await contextWithVotes();
  await remember(db, 'base', null);
  await runs.setSchedule({ votes: 1, method: 'ppo', publish: 'no' });
  runs.startSchedule();
  const refusals = async () =>
    (await auditLog(db)).filter(({ action }) => action === 'run.refused').length;
  runs.noticeEvents();
  await until(async () => (await refusals()) === 1);
  runs.noticeEvents();
  await sleep(100);
  expect(await refusals()).toBe(1);
});

test('the schedule does not wait for a run whose owner is gone', async () => {
  const { db, runs, device, id } = await ended({ steps: 1 });
  const forsaken = { status: 'running', owner_pid: process.ppid, alive_at: 0 } as const;
  await db.updateTable('runs').set(forsaken).where('id', '=', id).execute();
  await takeEvents(db, device, [aVote(), aVote(-1)]);
  await runs.setSchedule({ votes: 2, method: 'ppo', publish: 'no' });
  runs.startSchedule();
  runs.noticeEvents();
  await until(async () => (await runs.list()).length === 2);
  expect((await runs.show(id)).status).toBe('failed');
});

test('the schedule starts a run when enough judgements have come', async () => {
  const { db, runs, device } = await contextWithVotes();
  await runs.setSchedule({ votes: 3, method: 'ppo', publish: 'no' });
  runs.startSchedule();
  runs.noticeEvents();
  await sleep(100);
  expect(await runs.list()).toEqual([]);
  await takeEvents(db, device, [aVote()]);
  runs.noticeEvents();
  await until(async () => (await runs.list()).length === 1);
  expect((await runs.list())[0]).toMatchObject({ method: 'ppo', publish: 'no' });
});
