// The tiny checkpoints as a page reads them: from Vite, which serves the repository.
import { bytesSource, openSafetensors, type Checkpoint } from '@rapport/core';
import { tinyTokenizer } from './tiny-tokenizer.ts';
import type { TinyExpected, TinyName } from './tiny.ts';

/** A tiny checkpoint that lies in one file of weights. */
export async function tinyCheckpoint(name: TinyName): Promise<Checkpoint> {
  const weights = await (await fetched(name, 'model.safetensors')).arrayBuffer();
  return openSafetensors({
    config: await (await fetched(name, 'config.json')).json(),
    ...tinyTokenizer,
    shards: [bytesSource(new Uint8Array(weights))],
  });
}

export const tinyExpected = async (name: TinyName): Promise<TinyExpected> =>
  (await fetched(name, 'expected.json')).json() as Promise<TinyExpected>;

const fetched = (name: TinyName, file: string) =>
  fetch(`/tests/reference/checkpoints/${name}/${file}`);
