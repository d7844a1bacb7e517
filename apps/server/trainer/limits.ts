// Groups of a run's config, read over their defaults. It knows shapes, not what is limited.
import * as v from 'valibot';
import { RapportError } from '@rapport/core';

/**
 * One group (`"safety"`, `"gate"`, …) of a run's config, or all of it; missing values take their defaults.
 * Throws `train/bad-config` for a name that does not exist or a value out of its range.
 */
export function limitsOf<const S extends v.StrictObjectSchema<v.ObjectEntries, undefined>>(
  schema: S,
  group: string | undefined,
  config: unknown,
): v.InferOutput<S> {
  const read = v.safeParse(schema, config ?? {}, { abortEarly: true });
  if (read.success) return read.output;
  const [issue] = read.issues;
  const where = group === undefined ? 'The config' : `"${group}" of the config`;
  throw new RapportError(
    'train/bad-config',
    `${where} is wrong at ${v.getDotPath(issue) ?? 'its top'}: ${issue.message}`,
    `Its names are ${Object.keys(schema.entries).join(', ')}.`,
  );
}
