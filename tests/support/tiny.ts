// The tiny random checkpoints of tests/reference, with the numbers PyTorch gets from them.
import { readdir, readFile } from 'node:fs/promises';
import { bytesSource, openSafetensors, type Checkpoint, type TokenizerSpec } from '@rapport/core';

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

/** 64 tokens: three special ones, then single letters; what is not among them is dropped. */
const tokens = [
  '<pad>',
  '<turn>',
  '<end>',
  ...'\u0120\u010aabcdefghijklmnopqrstuvwxyz0123456789.,!?:-\'"ABCDEFGHIJKLMNO',
];

/** A tokenizer for the tiny checkpoints; 2 ends a turn. */
const tinyTokenizer: TokenizerSpec = {
  tokenizerJson: {
    model: {
      type: 'BPE',
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: [],
    },
    added_tokens: tokens.slice(0, 3).map((content, id) => ({ id, content, special: true })),
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false },
    decoder: { type: 'ByteLevel' },
  },
  tokenizerConfig: {
    eos_token: '<end>',
    chat_template:
      '{% for m in messages %}<turn>{{ m.role }}\n{{ m.content }}<end>\n{% endfor %}{% if add_generation_prompt %}<turn>assistant\n{% endif %}',
  },
};

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
