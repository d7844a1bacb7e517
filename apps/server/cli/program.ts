// The `rapport` command: its words, its flags and its exit codes. What commands do is in their files.
import { Command, CommanderError } from 'commander';
import { chatCommands } from './commands/chat.ts';
import { careCommands } from './commands/care.ts';
import { datasetCommands } from './commands/dataset.ts';
import { evaluateCommands } from './commands/evaluate.ts';
import { feedbackCommands } from './commands/feedback.ts';
import { releaseCommands } from './commands/release.ts';
import { scheduleCommands } from './commands/schedule.ts';
import { trainCommands } from './commands/train.ts';
import { inFileWords } from '../file-errors.ts';
import { inWords } from '../store/full-disk.ts';

/** Every room adds its commands. */
const ROOMS = [
  chatCommands,
  feedbackCommands,
  datasetCommands,
  trainCommands,
  scheduleCommands,
  releaseCommands,
  evaluateCommands,
  careCommands,
];

const DONE = 0;
const FAILED = 1;
const WRONG_USAGE = 2;

/** Runs one command line to the end of the process, when all it printed has been taken. */
export async function run(args: readonly string[]): Promise<never> {
  const streams = [process.stdout, process.stderr];
  for (const stream of streams) stream.on('error', unlessClosed);
  const code = await codeOf(args);
  await Promise.all(streams.map(drained));
  process.exit(code);
}

/** A pipe takes 64 KiB at once and the rest when it is read; exiting before that would drop it. */
const drained = (stream: NodeJS.WriteStream): Promise<void> =>
  new Promise((done) => stream.write('', () => done()));

/** Who reads no further (`| head -1`) has read enough. */
function unlessClosed(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
}

/** Runs one command line; gives its exit code. */
export async function codeOf(args: readonly string[]): Promise<number> {
  const program = new Command('rapport')
    .description('A chat assistant that learns from the people who use it.')
    .exitOverride()
    .showHelpAfterError('(rapport --help lists the commands)');
  for (const add of ROOMS) add(program);
  overrideExits(program);
  try {
    await program.parseAsync(args, { from: 'user' });
    return DONE;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? DONE : WRONG_USAGE;
    return explain(error);
  }
}

/** A command without its subcommand prints help, and that is wrong usage. */
function overrideExits(command: Command): void {
  for (const sub of command.commands) {
    sub.exitOverride();
    overrideExits(sub);
  }
}

/** Message, then remedy. */
function explain(thrown: unknown): number {
  const error = inFileWords(inWords(thrown));
  const { code, message, remedy, stack } = error as Partial<
    Error & { code: string; remedy: string }
  >;
  if (remedy) process.stderr.write(`${message}\n${remedy}\n`);
  else
    process.stderr.write(
      `${stack ?? String(error)}\nThis is a bug of Rapport; please report it.\n`,
    );
  return code === 'cli/usage' ? WRONG_USAGE : FAILED;
}
