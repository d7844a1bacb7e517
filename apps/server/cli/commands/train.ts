// rapport train, and rapport runs list · show · cancel · resume
import { Option, type Command } from 'commander';
import { RapportError } from '@rapport/core';
import type { Context } from '../../context.ts';
import { whenAskedToEnd } from '../../signals.mjs';
import { METHODS, PUBLISH, type Method, type Publish } from '../../trainer/spec.ts';
import type { Run } from '../../trainer/runs.ts';
import { readConfig } from '../json-files.ts';
import { baseFor } from '../model.ts';
import { listing, table, when, type Output } from '../output.ts';
import { progressTo } from '../progress.ts';
import { common, inFolder, inFolderOrNew, withModel, type CommonFlags } from '../session.ts';

interface TrainFlags extends CommonFlags {
  dataset?: string;
  method: Method;
  config?: string;
  publish: Publish;
}

export function trainCommands(program: Command): void {
  withModel(
    common(
      program
        .command('train')
        .description('reward model → policy → evaluation → gate → release')
        .option('--dataset <id>', 'a frozen dataset; without it the votes not yet taken')
        .addOption(new Option('--method <method>', 'how').choices(METHODS).default('ppo'))
        .option('--config <file>', 'JSON with hyper-parameters')
        .addOption(
          new Option('--publish <who>', 'who gets it when its gate is passed')
            .choices(PUBLISH)
            .default('candidate'),
        ),
    ),
  ).action((flags: TrainFlags) =>
    inFolderOrNew(flags, async (context, output) => {
      const config = flags.config ? await readConfig(flags.config) : {};
      const base = await baseFor(context, flags.model);
      const { dataset, method, publish } = flags;
      const run = await context.runs.start({ dataset, method, publish, config, base });
      await follow(context, output, run.id);
    }),
  );

  const runs = program.command('runs').description('training runs');
  common(runs.command('list').description('runs, newest first')).action((flags: CommonFlags) =>
    inFolder(flags, async (context, output) => {
      await context.runs.failOrphans();
      const all = await context.runs.list();
      const rows = all.map((r) => [
        r.id,
        when(r.createdAt),
        r.method,
        r.status,
        r.release?.slice(0, 12),
      ]);
      output.answer(all, table(['id', 'started', 'method', 'status', 'release'], rows));
    }),
  );
  common(runs.command('show').argument('<id>').description('one run')).action(
    (id: string, flags: CommonFlags) =>
      inFolder(flags, async (context, output) => {
        await context.runs.failOrphans();
        const run = await context.runs.show(id);
        output.answer(run, listing({ ...run }));
      }),
  );
  common(runs.command('cancel').argument('<id>').description('stop a run')).action(
    (id: string, flags: CommonFlags) =>
      inFolder(flags, async (context, output) => {
        const run = await context.runs.cancel(id);
        output.answer(run, `${run.id}  ${run.status}`);
      }),
  );
  common(
    runs.command('resume').argument('<id>').description('go on with a failed or cancelled run'),
  ).action((id: string, flags: CommonFlags) =>
    inFolder(flags, async (context, output) => {
      const since = Date.now();
      const run = await context.runs.resume(id);
      await follow(context, output, run.id, since);
    }),
  );
}

/**
 * Shows a run of this process until it ends; Ctrl-C cancels it. `since`, in ms since 1970, leaves out what
 * earlier attempts have shown. Throws what made it fail.
 */
async function follow(context: Context, output: Output, id: string, since = 0): Promise<void> {
  const stopListening = whenAskedToEnd(
    () => void context.runs.cancel(id).catch((error: Error) => output.note(error.message)),
    () => process.exit(1),
  );
  const progress = progressTo();
  try {
    for await (const record of context.runs.progress(id))
      if (Number(record['at']) >= since) progress.show(record);
    await context.runs.wait(id);
  } finally {
    progress.end();
    stopListening();
  }
  const run = await context.runs.show(id);
  if (run.status !== 'done') throw failureOf(run);
  const { release, gate, evaluation, held } = run;
  const value = { run: id, ...(release && { release }), gate, evaluation, ...(held && { held }) };
  const checks = (gate?.checks ?? []).map((check) => [
    check.passed ? 'passed' : 'NOT passed',
    check.name,
    check.detail,
  ]);
  const lines = [table(['gate', 'check', ''], checks), `run ${id}`, `release ${release}`];
  if (held) lines.push(`not published: ${held}`);
  output.answer(value, lines.join('\n'));
}

function failureOf({ id, status, failure }: Run): RapportError {
  if (failure) return new RapportError(failure.code, failure.message, failure.remedy);
  return new RapportError(
    'run/cancelled',
    `Run ${id} was ${status}.`,
    `Go on with it: rapport runs resume ${id}`,
  );
}
