// rapport release build · list · show · publish · promote · halt · rollback
import type { Command } from 'commander';
import type { Channel, Signed } from '@rapport/core';
import type { Context } from '../../context.ts';
import { releaseRows } from '../../operator/overview.ts';
import { registerBase } from '../../releases/base.ts';
import { buildRelease } from '../../releases/build.ts';
import { halt, offerCandidate, promote, rollback } from '../../releases/channel.ts';
import { addBase, addRelease, findRelease } from '../../releases/registry.ts';
import { audit } from '../../store/audit.ts';
import { placeOf } from '../../models.ts';
import { openAdapter, Voice } from '../../speaking.ts';
import { findModel } from '../model.ts';
import { listing, table, when, type Output } from '../output.ts';
import {
  common,
  inFolder,
  inFolderOrNew,
  percent,
  usage,
  withModel,
  type CommonFlags,
} from '../session.ts';

export function releaseCommands(program: Command): void {
  const release = program.command('release').description('versions, and who gets them');

  withModel(
    common(
      release
        .command('build')
        .description('a release from a PEFT adapter, another base, or both')
        .option('--base <spec>', 'a model; without it the one of the server')
        .option('--adapter <dir>', 'a folder in PEFT layout'),
    ),
  ).action((flags: CommonFlags & { base?: string; adapter?: string }) => {
    if (!flags.base && !flags.adapter) throw usage('Give --adapter DIR, --base SPEC, or both.');
    return inFolderOrNew(flags, (context, output) => build(context, output, flags));
  });

  common(release.command('list').description('releases, newest first')).action(
    (flags: CommonFlags) =>
      inFolder(flags, async (context, output) => {
        const all = await releaseRows(context);
        const rows = all.map((r) => [
          r.id.slice(0, 12),
          when(r.createdAt),
          r.state,
          r.votes,
          `${r.thumbsUp} / ${r.thumbsDown}`,
          r.loadFailures,
          r.flagged ? 'retrain: something was erased' : '',
        ]);
        const head = ['id', 'made', 'state', 'votes', 'good / bad', 'not loaded', ''];
        output.answer(all, table(head, rows));
      }),
  );

  common(release.command('show').argument('<id>').description('one release')).action(
    (name: string, flags: CommonFlags) =>
      inFolder(flags, async ({ db }, output) => {
        const { id, envelope, createdAt, flagged, run } = await findRelease(db, name);
        const { base, adapter, evaluation, dataset, parents } = envelope.signed;
        const value = {
          id,
          createdAt,
          flagged,
          run,
          ...envelope.signed,
          signatures: envelope.signatures,
        };
        const lines = {
          id,
          made: when(createdAt),
          base: base.name,
          adapter: adapter?.digest,
          dataset,
        };
        output.answer(value, listing({ ...lines, evaluation, parents }));
      }),
  );

  common(
    release
      .command('publish')
      .argument('<id>')
      .option('--percent <n>', 'of devices', percent)
      .description('offer a release as candidate to 1 % of devices'),
  ).action((id: string, flags: CommonFlags & { percent?: number }) =>
    changeChannel(flags, `publish ${id}`, ({ db, dataFolder }) =>
      offerCandidate(db, dataFolder, id, flags.percent),
    ),
  );

  common(
    release
      .command('promote')
      .argument('<id>')
      .option('--percent <n>', 'of devices; at 100 it is the stable one', percent, 100)
      .description('give a release to more devices'),
  ).action((id: string, flags: CommonFlags & { percent: number }) =>
    changeChannel(flags, `promote ${id}`, ({ db, dataFolder }) =>
      promote(db, dataFolder, id, flags.percent),
    ),
  );

  common(release.command('halt').description('take the candidate back from everybody')).action(
    (flags: CommonFlags) =>
      changeChannel(flags, 'halt', ({ db, dataFolder }) => halt(db, dataFolder)),
  );

  common(release.command('rollback').description('back to what was stable before')).action(
    (flags: CommonFlags) =>
      changeChannel(flags, 'rollback', ({ db, dataFolder }) => rollback(db, dataFolder)),
  );
}

async function build(
  context: Context,
  output: Output,
  flags: CommonFlags & { base?: string; adapter?: string },
): Promise<void> {
  const { db, blobs, dataFolder } = context;
  const model = await findModel(context, flags.base ?? flags.model);
  const adapter = flags.adapter ? await openAdapter(flags.adapter) : null;
  const voice = await Voice.open(await placeOf(model), adapter);
  // An adapter of another model is refused here, before anything is kept.
  const golden = await voice.golden();
  const base = await registerBase(blobs, model);
  await addBase(db, base);
  const release = await buildRelease(blobs, {
    base,
    tokenizerDigest: voice.tokenizer.digest,
    golden,
    ...(flags.adapter && { adapterFolder: flags.adapter }),
  });
  const id = await addRelease(db, dataFolder, release);
  await audit(db, 'cli', 'release.build', { release: id });
  output.answer({ id, base: base.digest, adapter: release.adapter?.digest ?? null }, id);
}

function changeChannel(
  flags: CommonFlags,
  action: string,
  change: (context: Context) => Promise<Signed<Channel>>,
): Promise<void> {
  return inFolder(flags, async (context, output) => {
    const { signed } = await change(context);
    await audit(context.db, 'cli', `release.${action}`);
    const { version, stable, candidate, blocked, freeze } = signed;
    output.answer(signed, listing({ version, stable, candidate, blocked: blocked.length, freeze }));
  });
}
