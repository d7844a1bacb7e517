import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { buildTokenizer } from '@rapport/core';
import { tinyTokenizer } from '../../../../tests/support/tiny-tokenizer.ts';
import type { ModelManifest } from './inference.ts';
import { openCheckpoint } from './open-checkpoint.ts';

const folder = new URL('../../../../tests/reference/checkpoints/llama-tied/', import.meta.url);
const manifest: ModelManifest = { name: 'tiny', format: 'safetensors', digest: 'tiny', files: [] };

/** At which tokens replies end of a model with these files beside its weights. */
async function endsWith(more: Record<string, string>): Promise<number[]> {
  const texts = {
    'config.json': await readFile(new URL('config.json', folder), 'utf8'),
    'tokenizer.json': JSON.stringify(tinyTokenizer.tokenizerJson),
    'tokenizer_config.json': JSON.stringify(tinyTokenizer.tokenizerConfig),
    ...more,
  };
  const files = new Map(
    Object.entries(texts).map(([name, text]) => [name, new File([text], name)] as const),
  );
  const weights = new Uint8Array(await readFile(new URL('model.safetensors', folder)));
  files.set('model.safetensors', new File([weights], 'model.safetensors'));
  const { tokenizer } = await openCheckpoint(manifest, files);
  return [...(await buildTokenizer(tokenizer)).ends].sort();
}

test('generation_config.json says at which tokens replies end, where there is one', async () => {
  expect(await endsWith({})).toEqual([2]);
  const generation = JSON.stringify({ eos_token_id: [2, 1] });
  expect(await endsWith({ 'generation_config.json': generation })).toEqual([1, 2]);
});
