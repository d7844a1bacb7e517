// The model on this disk as clients get it: its files by digest, served from where they lie.
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { digestOf, type BaseModel } from '@rapport/core';
import type { ModelFiles } from '../model-source/obtain.mjs';
import type { Blobs } from '../store/blobs.ts';

const WANTED =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|chat_template)\.(json|jinja)$|\.safetensors(\.index\.json)?$/;

/** Registers the files of a model; hashing is done once per file. */
export async function registerBase(blobs: Blobs, model: ModelFiles): Promise<BaseModel> {
  const { name, license, format } = model;
  const paths =
    format === 'gguf'
      ? [model.path]
      : (await readdir(model.path))
          .filter((file) => WANTED.test(file))
          .sort()
          .map((file) => join(model.path, file));
  const files = [];
  for (const path of paths) files.push(await blobs.adopt(path, basename(path)));
  const digest =
    format === 'gguf'
      ? files[0]!.digest
      : await digestOf(files.map((file) => [file.name, file.digest]));
  return { name, ...(license && { license }), format, digest, files };
}
