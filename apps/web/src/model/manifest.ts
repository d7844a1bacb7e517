// Which model this server gives its clients, checked before anything is downloaded.
import * as v from 'valibot';
import { BaseSchema, RapportError } from '@rapport/core';
import type { ModelManifest } from '../workers/inference.ts';

/** Asks our own server; throws `model/no-manifest` when it does not answer or answers nonsense. */
export async function fetchManifest(signal?: AbortSignal): Promise<ModelManifest> {
  try {
    const response = await fetch('/v1/model', signal ? { signal } : {});
    if (!response.ok) throw new Error(`status ${response.status}`);
    return v.parse(BaseSchema, await response.json());
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new RapportError(
      'model/no-manifest',
      `The server did not say which model to use (${(cause as Error).message}).`,
      'Check the connection and try again.',
      { cause },
    );
  }
}
