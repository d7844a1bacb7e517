import { expect, test } from 'vitest';
import { rapport } from '../cli/test-cli.ts';
import { auditLog } from '../store/audit.ts';
import { enrol } from '../store/devices.ts';
import { takeEvents } from '../store/events.ts';
import { anErasure, aReport, aVote } from '../store/test-store.ts';
import { appOf, contextWithVotes } from '../test-context.ts';
import { currentChannel, promote } from './channel.ts';

/** A release that is tried on some devices. */
async function scene() {
  const context = await contextWithVotes();
  const { db, dataFolder, runs } = context;
  const { id } = await runs.start({ config: { steps: 1 }, publish: 'candidate' });
  const release = (await runs.wait(id)).release!;
  const { app } = appOf(context);
  /** Another device reports so often that `what` fails to load. */
  const report = async (what: string, times = 1) => {
    const { token } = await enrol(db);
    const { status } = await app.request('/v1/events', {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify({
        proto: 1,
        events: Array.from({ length: times }, () => aReport(what)),
      }),
    });
    expect(status).toBe(200);
  };
  const channel = async () => (await currentChannel(db, dataFolder)).signed;
  return { ...context, release, report, channel };
}

test('the list of releases says what devices made of each', async () => {
  const { db, dataFolder, device, release } = await scene();
  const [corrected, erased] = [aVote(1, { release }), aVote(-1, { release })];
  await takeEvents(db, device, [
    ...[aVote(1, { release }), aVote(1, { release }), aVote(-1, { release }), aVote(-1)],
    ...[corrected, aVote(-1, { release, supersedes: corrected.id })],
    ...[erased, anErasure(erased.id)],
    // Twice from one device is one device that fails.
    ...[aReport(release), aReport(release)],
  ]);
  const other = await enrol(db);
  await takeEvents(db, other.device, [aReport(release)]);
  const { json } = await rapport(dataFolder, 'release', 'list', '--json');
  expect(json).toMatchObject([{ id: release, thumbsUp: 2, thumbsDown: 2, loadFailures: 2 }]);
  expect((await rapport(dataFolder, 'release', 'list')).text).toMatch(/2 \/ 2 +2$/m);
});

test('a candidate that fails to load on three devices is halted by itself', async () => {
  const { db, release, report, channel } = await scene();
  await report(release, 3);
  await report(release);
  for (let i = 0; i < 3; i++) await report('another');
  expect((await channel()).candidate).toMatchObject({ release });
  await report(release);
  expect(await channel()).toMatchObject({ stable: 'base', blocked: [release], freeze: true });
  expect((await channel()).candidate).toBeUndefined();
  expect((await auditLog(db))[0]).toMatchObject({
    actor: 'devices',
    action: 'channel.halt',
    detail: { release, devices: 3 },
  });
});

test('reports take nothing from those who have the stable release', async () => {
  const { db, dataFolder, release, report, channel } = await scene();
  await promote(db, dataFolder, release);
  for (let i = 0; i < 4; i++) await report(release);
  expect(await channel()).toMatchObject({ stable: release, blocked: [], freeze: false });
});
