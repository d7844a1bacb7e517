// What has arrived and who answers, at a glance: for the console and for `rapport status`.
import type { Context } from '../context.ts';
import { currentChannel } from '../releases/channel.ts';
import { ownBase } from '../releases/model.ts';
import { listReleases } from '../releases/registry.ts';
import { listDatasets } from '../store/datasets.ts';
import { listDevices } from '../store/devices.ts';
import { countJudgements, receptions } from '../store/events.ts';

/** Counts and the channel. */
export async function overviewOf({ db, dataFolder, runs }: Context) {
  const { votes, rankings, edits, unused } = await countJudgements(db);
  const { signed } = await currentChannel(db, dataFolder);
  const model = await ownBase(db).catch(() => null);
  const all = await runs.list();
  return {
    votes,
    rankings,
    edits,
    unusedVotes: unused,
    devices: (await listDevices(db)).length,
    datasets: (await listDatasets(db)).length,
    releases: (await listReleases(db)).length,
    runs: all.length,
    schedule: await runs.schedule(),
    running: all.find(({ status }) => status === 'running')?.id ?? null,
    stable: signed.stable,
    candidate: signed.candidate
      ? { release: signed.candidate.release, percent: signed.candidate.percent }
      : null,
    frozen: signed.freeze,
    model: model?.name ?? 'none',
  };
}

/** Releases with their place in the channel, and what devices made of them. */
export async function releaseRows({ db, dataFolder }: Pick<Context, 'db' | 'dataFolder'>) {
  const { stable, candidate, blocked } = (await currentChannel(db, dataFolder)).signed;
  const stateOf = (id: string) => {
    if (id === stable) return 'stable';
    if (id === candidate?.release) return `candidate ${candidate.percent} %`;
    return blocked.includes(id) ? 'blocked' : 'built';
  };
  const received = await receptions(db);
  return (await listReleases(db)).map(({ id, envelope, createdAt, flagged, run }) => ({
    id,
    state: stateOf(id),
    createdAt,
    run,
    flagged,
    votes: envelope.signed.dataset.count,
    base: envelope.signed.base.name,
    adapter: envelope.signed.adapter?.digest ?? null,
    ...(received.get(id) ?? { thumbsUp: 0, thumbsDown: 0, loadFailures: 0 }),
  }));
}
