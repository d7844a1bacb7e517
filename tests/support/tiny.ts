// The tiny random checkpoints of tests/reference, with the numbers PyTorch gets from them.
import { readdir, readFile } from 'node:fs/promises';
import { bytesSource, openSafetensors, type Checkpoint } from '@rapport/core';
import { tinyTokenizer } from './tiny-tokenizer.ts';

const folder = new URL('../reference/checkpoints/', import.meta.url);

export const tinyNames = [
  'llama-tied',
  'llama-untied-biased',
  'qwen2-tied',
  'qwen2-untied',
  'qwen3-tied',
  'qwen3-untied',
  'gpt2',
] as const;
export type TinyName = (typeof tinyNames)[number];

/** What PyTorch computes in fp32 from a tiny checkpoint. */
export interface TinyExpected {
  /** [2, 12] */
  readonly tokens: number[][];
  /** [3, 2, 12, 32]: after the embedding, after layer 0, after layer 1 and the final norm. */
  readonly hidden_states: number[][][][];
  /** [2, 12, 64] */
  readonly logits: number[][][];
}

/** A tiny checkpoint: 2 layers, hidden 32, vocabulary 64, `tinyTokenizer`. */
export async function tinyCheckpoint(name: TinyName): Promise<Checkpoint> {
  const files = await readdir(new URL(`${name}/`, folder));
  const shards = files.filter((file) => file.endsWith('.safetensors'));
  return openSafetensors({
    config: await json(`${name}/config.json`),
    ...tinyTokenizer,
    shards: await Promise.all(
      shards.map(async (file) => bytesSource(await bytes(`${name}/${file}`))),
    ),
  });
}

export const tinyExpected = (name: TinyName): Promise<TinyExpected> =>
  json(`${name}/expected.json`) as Promise<TinyExpected>;

const bytes = async (path: string) => new Uint8Array(await readFile(new URL(path, folder)));
const json = async (path: string): Promise<unknown> =>
  JSON.parse(await readFile(new URL(path, folder), 'utf8'));
