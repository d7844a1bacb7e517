import { expect, test } from 'vitest';
import { rapport } from '../cli/test-cli.ts';
import { enrol } from '../store/devices.ts';
import { takeEvents } from '../store/events.ts';
import { anErasure, aReport, aVote } from '../store/test-store.ts';
import { contextWithVotes } from '../test-context.ts';

/** A release that is tried on some devices. */
async function scene() {
  const context = await contextWithVotes();
  const { runs } = context;
  const { id } = await runs.start({ config: { steps: 1 }, publish: 'candidate' });
  const release = (await runs.wait(id)).release!;
  return { ...context, release };
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
