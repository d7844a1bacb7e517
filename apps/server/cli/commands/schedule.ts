// rapport schedule show · set · off
import { Option, type Command } from 'commander';
import type { Schedule } from '../../trainer/runs.ts';
import { METHODS, PUBLISH, type Method, type Publish } from '../../trainer/spec.ts';
import { common, inFolder, inFolderOrNew, usage, whole, type CommonFlags } from '../session.ts';

export function scheduleCommands(program: Command): void {
  const schedule = program
    .command('schedule')
    .description('training that the running server starts by itself');

  common(schedule.command('show').description('what is set')).action((flags: CommonFlags) =>
    inFolder(flags, async ({ runs }, output) => {
      const set = await runs.schedule();
      output.answer({ schedule: set }, wordsOf(set));
    }),
  );

  common(
    schedule
      .command('set')
      .description('train whenever so many votes have come that no dataset has taken')
      .requiredOption('--votes <n>', 'how many', whole)
      .addOption(new Option('--method <method>', 'how').choices(METHODS).default('ppo'))
      .addOption(
        new Option('--publish <who>', 'who gets a release that passes its gate')
          .choices(PUBLISH)
          .default('candidate'),
      ),
  ).action(({ votes, method, publish, ...flags }: SetFlags) => {
    if (votes < 1) throw usage('--votes must be 1 or more.');
    return inFolderOrNew(flags, async ({ runs }, output) => {
      const set = { votes, method, publish };
      await runs.setSchedule(set);
      output.answer({ schedule: set }, wordsOf(set));
    });
  });

  common(schedule.command('off').description('train only when asked')).action(
    (flags: CommonFlags) =>
      inFolder(flags, async ({ runs }, output) => {
        await runs.setSchedule(null);
        output.answer({ schedule: null }, wordsOf(null));
      }),
  );
}

type SetFlags = CommonFlags & { votes: number; method: Method; publish: Publish };

const wordsOf = (schedule: Schedule | null): string =>
  schedule
    ? `after ${schedule.votes} new votes: ${schedule.method}, publish ${schedule.publish}`
    : 'no schedule';
