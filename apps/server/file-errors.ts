// What the file system refuses, in words: the path and the reason. A full disk has its own (full-disk.ts).
import { RapportError } from '@rapport/core';

const REASONS: Record<string, string> = {
  ENOENT: 'there is no such file or folder',
  EACCES: 'access is denied',
  EPERM: 'access is denied',
  EROFS: 'nothing can be written there',
  EISDIR: 'it is a folder, not a file',
  ENOTDIR: 'a part of this path is a file, not a folder',
  EEXIST: 'a file of that name is there already',
  ENAMETOOLONG: 'the name is too long',
};

/** `error` as it is, or `file/refused` where the file system refused `path`, by default the one it names. */
export function inFileWords(error: unknown, path?: string): unknown {
  const { code = '', path: named } = error as Partial<NodeJS.ErrnoException>;
  const [reason, where] = [REASONS[code], path ?? named];
  if (!reason || !where) return error;
  return new RapportError(
    'file/refused',
    `${where}: ${reason}.`,
    'Check the path, and who may read and write there.',
    { cause: error },
  );
}
