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

test('chat_template.jinja of a folder goes before the template in tokenizer_config.json', async () => {
  const path = await tinyFolder();
  const prompt = async () => {
    const checkpoint = await openModel(await placeOf({ format: 'safetensors', path }));
    const tokenizer = await tokenizerOf(checkpoint);
    return tokenizer.renderChat([{ role: 'user', content: 'hi' }], { addGenerationPrompt: false });
  };
  const template = '{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}';
  await writeFile(join(path, 'chat_template.jinja'), template);
  expect(await prompt()).toBe('user: hi');
  await writeFile(join(path, 'tokenizer_config.json'), '{"eos_token": "<end>"}');
  expect(await prompt()).toBe('user: hi');
});
