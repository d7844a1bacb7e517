// An error as the database keeps it, to be shown after a reload and in another language.
import { RapportError } from '@rapport/core';

export interface ErrorNote {
  /** Missing for what nobody foresaw. */
  code?: string;
  message: string;
  remedy: string;
}

export function errorNote(error: unknown): ErrorNote {
  if (error instanceof RapportError) {
    const { code, message, remedy } = error;
    return { code, message, remedy };
  }
  return { message: error instanceof Error ? error.message : String(error), remedy: '' };
}
