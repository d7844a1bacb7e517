// Which model this server gives its clients, checked before anything is downloaded.
import * as v from 'valibot';
import { RapportError } from '@rapport/core';
import type { ModelManifest } from '../workers/inference.ts';

const Sha256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const Size = v.pipe(v.number(), v.integer(), v.minValue(1));

const File = v.pipe(
  v.object({
    name: v.pipe(v.string(), v.maxLength(200)),
    digest: Sha256,
    sizeBytes: Size,
    chunks: v.optional(v.object({ size: Size, sha256: v.array(Sha256) })),
  }),
  v.check(
    ({ sizeBytes, chunks }) =>
      !chunks || chunks.sha256.length === Math.ceil(sizeBytes / chunks.size),
    'as many chunk hashes as chunks',
  ),
);

const Manifest = v.object({
  name: v.pipe(v.string(), v.maxLength(200)),
  license: v.optional(v.string()),
  format: v.picklist(['gguf', 'safetensors']),
  digest: Sha256,
  files: v.pipe(v.array(File), v.minLength(1), v.maxLength(64)),
});

/** Asks our own server; throws `model/no-manifest` when it does not answer or answers nonsense. */
export async function fetchManifest(signal?: AbortSignal): Promise<ModelManifest> {
  try {
    const response = await fetch('/v1/model', signal ? { signal } : {});
    if (!response.ok) throw new Error(`status ${response.status}`);
    return v.parse(Manifest, await response.json());
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
