// Reading a JSON body that may be hostile: bounded before it is parsed.
import type { Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import * as v from 'valibot';
import { depthOf } from '@rapport/core';
import { Refusal } from './answer.ts';

/** Refuses bodies above `bytes` with 413. */
export const limitBody = (bytes: number) =>
  bodyLimit({
    maxSize: bytes,
    onError: () => {
      throw new Refusal(
        413,
        'request/too-large',
        `The body is larger than ${bytes} bytes.`,
        'Send it in smaller parts.',
      );
    },
  });

const DEPTH = 32;

/** The body as JSON of bounded depth; an empty one is `{}`. Throws a 400 refusal. */
export async function readJson(c: Context, depth = DEPTH): Promise<unknown> {
  const text = await c.req.text();
  if (text === '') return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Refusal(400, 'request/not-json', 'The body is not JSON.', 'Send JSON in UTF-8.');
  }
  if (depthOf(value, depth) <= depth) return value;
  throw new Refusal(400, 'request/too-deep', 'The body nests too deeply.', 'Send a flatter body.');
}

/** The body in the shape of `schema`. Throws a 400 refusal that names the place. */
export async function readBody<S extends v.GenericSchema>(
  c: Context,
  schema: S,
): Promise<v.InferOutput<S>> {
  const parsed = v.safeParse(schema, await readJson(c), { abortEarly: true });
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  throw new Refusal(
    400,
    'request/invalid',
    `The body is wrong at ${v.getDotPath(issue) ?? 'its top'}: ${issue.message}`,
    'Correct it and send it again.',
  );
}
