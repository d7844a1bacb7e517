// A full disk, in words. The file system and SQLite have names of their own for it, and it may lie under
// other errors as their cause.
import { RapportError } from '@rapport/core';

const NAMES = ['ENOSPC', 'EDQUOT', 'SQLITE_FULL'];

/** `error` as it is, or `store/disk-full` where that is what it comes from. */
export function inWords(error: unknown): unknown {
  for (let cause = error as Error & { code?: string }; cause; cause = cause.cause as typeof cause)
    if (NAMES.includes(cause.code ?? '')) return diskFull(error);
  return error;
}

const diskFull = (cause: unknown) =>
  new RapportError(
    'store/disk-full',
    'The disk is full: this could not be written.',
    'Free some space and try again. What was kept before is untouched.',
    { cause },
  );
