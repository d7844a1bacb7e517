// How every route says no: {code, message, remedy} with a status, and nothing of the inside.
import type { Context } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { RapportError } from '@rapport/core';
import { inWords } from '../store/full-disk.ts';

/** A refusal with the status it is answered with. */
export class Refusal extends RapportError {
  readonly status: ContentfulStatusCode;
  readonly headers: Record<string, string>;

  constructor(
    status: ContentfulStatusCode,
    code: string,
    message: string,
    remedy: string,
    headers: Record<string, string> = {},
  ) {
    super(code, message, remedy);
    this.status = status;
    this.headers = headers;
  }
}

const RETRY_AFTER_SECONDS = 60;

/** Answers an error; what nobody foresaw shows only the id of its request. */
export function answerError(thrown: unknown, c: Context): Response {
  const error = inWords(thrown);
  if (error instanceof Refusal) return c.json(wordsOf(error), error.status, error.headers);
  if (error instanceof RapportError && error.code === 'store/disk-full')
    return c.json(wordsOf(error), 503, { 'Retry-After': String(RETRY_AFTER_SECONDS) });
  if (error instanceof RapportError)
    return c.json(wordsOf(error), /unknown|missing/.test(error.code) ? 404 : 400);
  const requestId = c.get('requestId') as string;
  return c.json(
    {
      code: 'server/failed',
      message: `The server failed on request ${requestId}.`,
      remedy: 'Try again; the log of the server says more under that id.',
      requestId,
    },
    500,
  );
}

const wordsOf = ({ code, message, remedy }: RapportError) => ({ code, message, remedy });

/** The answer for what is not there. */
export const notFound = (what: string) =>
  new Refusal(404, 'request/not-found', `There is no ${what} here.`, 'Check the address.');
