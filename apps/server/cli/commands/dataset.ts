// rapport dataset freeze · list · diff
import type { Command } from 'commander';
import { audit } from '../../store/audit.ts';
import { diffDatasets, freezeDataset, listDatasets } from '../../store/datasets.ts';
import { listing, table, when } from '../output.ts';
import { common, inFolder, type CommonFlags } from '../session.ts';

export function datasetCommands(program: Command): void {
  const dataset = program.command('dataset').description('snapshots of the votes for training');

  common(dataset.command('freeze').description('take every vote that no dataset has')).action(
    (flags: CommonFlags) =>
      inFolder(flags, async ({ db }, output) => {
        const { id, digest, votes, rankings, devices } = await freezeDataset(db);
        await audit(db, 'cli', 'dataset.freeze', { dataset: id });
        const value = { id, digest, votes, rankings, devices };
        output.answer(value, listing(value));
      }),
  );

  common(dataset.command('list').description('datasets, newest first')).action(
    (flags: CommonFlags) =>
      inFolder(flags, async ({ db }, output) => {
        const all = await listDatasets(db);
        const rows = all.map((d) => [
          d.id,
          when(d.createdAt),
          d.votes,
          d.rankings,
          d.devices,
          d.flagged ? 'something was erased' : '',
        ]);
        output.answer(all, table(['id', 'frozen', 'votes', 'rankings', 'devices', ''], rows));
      }),
  );

  common(
    dataset
      .command('diff')
      .argument('<a>', 'dataset')
      .argument('<b>', 'dataset')
      .description('what two datasets hold apart'),
  ).action((a: string, b: string, flags: CommonFlags) =>
    inFolder(flags, async ({ db }, output) => {
      const diff = await diffDatasets(db, a, b);
      const { onlyA, onlyB, both } = diff;
      const text = listing({ 'only in A': onlyA.length, 'only in B': onlyB.length, both });
      output.answer(diff, text);
    }),
  );
}
