// What to tell a person about an error that reached the page: what happened, and what to do.
import { RapportError } from '@rapport/core';
import type { ErrorNote } from '../db/error-note.ts';
import type { Catalogue } from './en.ts';

/**
 * Message and remedy, in the person's language where it has words for the error's code or family. A full
 * disk is named whichever way the browser puts it.
 */
export function explain(error: unknown, t: Catalogue): string {
  if (isFull(error)) return t.noRoom;
  if (error instanceof RapportError) return explainNote(error, t);
  return `${t.unexpected} ${error instanceof Error ? error.message : String(error)}`;
}

/** The same of an error that was written down. */
export function explainNote({ code, message, remedy }: ErrorNote, t: Catalogue): string {
  if (code === undefined) return `${t.unexpected} ${message}`;
  const [family = ''] = code.split('/');
  return t.errors[code] ?? t.errors[family] ?? `${message} ${remedy}`.trim();
}

/** Dexie wraps the browser's error, sometimes twice. */
function isFull(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { name, inner } = error as Error & { inner?: unknown };
  return name === 'QuotaExceededError' || isFull(inner) || isFull(error.cause);
}
