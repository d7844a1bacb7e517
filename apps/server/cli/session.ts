// What most commands need: the data folder opened, the answer printed, everything closed again.
import { resolve } from 'node:path';
import { InvalidArgumentError, type Command } from 'commander';
import { RapportError } from '@rapport/core';
import { isDataFolder, openContext, type Context } from '../context.ts';
import { outputTo, type Output } from './output.ts';

export interface CommonFlags {
  data: string;
  json?: boolean;
  model?: string;
}

/** Adds the flags of every command. */
export function common(command: Command): Command {
  return command
    .option('--data <dir>', 'data folder', filled, process.env['RAPPORT_DATA'] || '.rapport')
    .option('--json', 'print one JSON document');
}

/** Adds `--model`. */
export const withModel = (command: Command): Command =>
  command.option(
    '--model <spec>',
    'a path, hf:owner/name, pypi:name==version, or a release id',
    filled,
    process.env['RAPPORT_MODEL'],
  );

type Work = (context: Context, output: Output) => Promise<void>;

/** Opens the data folder for `work`, and closes it whatever happens. Throws `store/none`. */
export async function inFolder(flags: CommonFlags, work: Work): Promise<void> {
  const folder = resolve(flags.data);
  if (isDataFolder(folder)) return inFolderOrNew(flags, work);
  throw new RapportError(
    'store/none',
    `There is no data folder ${folder}.`,
    'Name it with --data; npm start, rapport keys init and rapport feedback import make a new one.',
  );
}

/** The same for commands that may be the first: makes the data folder when there is none. */
export async function inFolderOrNew(
  { data, json = false }: CommonFlags,
  work: Work,
): Promise<void> {
  const context = await openContext(data);
  try {
    await work(context, outputTo(json));
  } finally {
    await context.close();
  }
}

/** What is not empty of a flag: an empty path would be the folder one stands in. */
function filled(text: string): string {
  if (text === '') throw new InvalidArgumentError('It must not be empty.');
  return text;
}

/** A whole number of a flag. */
export function whole(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(text);
}

/** A share of a flag, from 0 to 100. */
export function percent(text: string): number {
  const value = Number(text);
  if (text !== '' && value >= 0 && value <= 100) return value;
  throw new InvalidArgumentError('It must be a number from 0 to 100.');
}

/** Wrong usage that only the command itself can see. */
export const usage = (message: string): RapportError =>
  new RapportError('cli/usage', message, 'See rapport --help.');
