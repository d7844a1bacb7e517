// Models on this disk, opened: for commands and for the training child, which both compute.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  buildTokenizer,
  openGguf,
  openSafetensors,
  type Checkpoint,
  type Tokenizer,
} from '@rapport/core';
import { openFile } from './model-source/file-source.ts';

/** Where a model lies: a GGUF file, or the files of the Hugging Face layout. */
export interface ModelPlace {
  format: 'gguf' | 'safetensors';
  files: { name: string; path: string }[];
}

/** The files of a model that was found or fetched. */
export async function placeOf(model: {
  format: 'gguf' | 'safetensors';
  path: string;
}): Promise<ModelPlace> {
  if (model.format === 'gguf')
    return { format: 'gguf', files: [{ name: 'model.gguf', path: model.path }] };
  const names = await readdir(model.path);
  const files = names.map((name) => ({ name, path: join(model.path, name) }));
  return { format: 'safetensors', files };
}

/** Opens a checkpoint; its files stay open for as long as the process lives. Throws `weights/*`. */
export async function openModel({ format, files }: ModelPlace): Promise<Checkpoint> {
  if (format === 'gguf') return openGguf(await openFile(files[0]!.path));
  const text = async (wanted: string) => {
    const file = files.find(({ name }) => name === wanted);
    return file ? await readFile(file.path, 'utf8') : undefined;
  };
  const json = async (wanted: string) => {
    const found = await text(wanted);
    return found === undefined ? undefined : (JSON.parse(found) as unknown);
  };
  const shards = files
    .filter(({ name }) => name.endsWith('.safetensors'))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  return openSafetensors({
    config: await json('config.json'),
    tokenizerJson: await json('tokenizer.json'),
    tokenizerConfig: await json('tokenizer_config.json'),
    generationConfig: await json('generation_config.json'),
    chatTemplate: await text('chat_template.jinja'),
    shards: await Promise.all(shards.map(({ path }) => openFile(path))),
  });
}

/** The tokenizer of an opened checkpoint. */
export const tokenizerOf = (checkpoint: Checkpoint): Promise<Tokenizer> =>
  Promise.resolve(buildTokenizer(checkpoint.tokenizer));
