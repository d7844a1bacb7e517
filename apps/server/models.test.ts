import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tinyFolder } from '../../tests/support/tiny-folder.ts';
import { openModel, placeOf, tokenizerOf } from './models.ts';

test('generation_config.json of a folder says at which tokens replies end', async () => {
  const path = await tinyFolder();
  const ends = async () => {
    const checkpoint = await openModel(await placeOf({ format: 'safetensors', path }));
    return [...(await tokenizerOf(checkpoint)).ends].sort();
  };
  expect(await ends()).toEqual([2]);
  const generation = JSON.stringify({ eos_token_id: [2, 1] });
  await writeFile(join(path, 'generation_config.json'), generation);
  expect(await ends()).toEqual([1, 2]);
});
