// From the kept files of a model to a checkpoint, in either format.
import {
  blobSource,
  openGguf,
  openSafetensors,
  RapportError,
  type Checkpoint,
} from '@rapport/core';
import type { ModelManifest } from './inference.ts';

/** Opens the files of `manifest`; `files` holds each under the name the manifest gives it. */
export async function openCheckpoint(
  manifest: ModelManifest,
  files: ReadonlyMap<string, File>,
): Promise<Checkpoint> {
  if (manifest.format === 'gguf') {
    const [file] = files.values();
    return openGguf(blobSource(file!), { digest: manifest.digest });
  }
  const names = [...files.keys()].filter((name) => name.endsWith('.safetensors')).sort();
  return openSafetensors({
    config: await readJson(files, 'config.json'),
    tokenizerJson: await readJson(files, 'tokenizer.json'),
    tokenizerConfig: await readJson(files, 'tokenizer_config.json'),
    generationConfig: files.has('generation_config.json')
      ? await readJson(files, 'generation_config.json')
      : undefined,
    chatTemplate: await files.get('chat_template.jinja')?.text(),
    shards: names.map((name) => blobSource(files.get(name)!)),
  });
}

async function readJson(files: ReadonlyMap<string, File>, name: string): Promise<unknown> {
  const file = files.get(name);
  if (!file) {
    throw new RapportError(
      'model/file-missing',
      `The model has no ${name}.`,
      'Ask the operator of this server to publish the whole folder of the model.',
    );
  }
  return JSON.parse(await file.text());
}
