// What to tell a person about an error that reached the page: what happened, and what to do.
import { RapportError } from '@rapport/core';
import type { Catalogue } from './en.ts';

/** Message and remedy; a full disk is named whichever way the browser puts it. */
export function explain(error: unknown, t: Catalogue): string {
  if (isFull(error)) return t.noRoom;
  if (error instanceof RapportError) return `${error.message} ${error.remedy}`;
  return `${t.unexpected} ${error instanceof Error ? error.message : String(error)}`;
}

/** Dexie wraps the browser's error, sometimes twice. */
function isFull(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { name, inner } = error as Error & { inner?: unknown };
  return name === 'QuotaExceededError' || isFull(inner) || isFull(error.cause);
}
