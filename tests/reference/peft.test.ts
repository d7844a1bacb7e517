// Adapters between this project and Python's PEFT, both ways, on a tiny model (make_peft_golden.py): ours gives
// PEFT's log-probs with PEFT's adapter, and PEFT gave ours with the adapter that is written here.
import { readFile } from 'node:fs/promises';
import * as ort from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import {
  buildTokenizer,
  ChatEngine,
  linearSites,
  ortRuntime,
  writePeft,
  type Adapter,
} from '@rapport/core';
import { openAdapter } from '../../apps/server/speaking.ts';
import { writeAdapter } from '../../apps/server/trainer/peft.ts';
import { randomAdapter } from '../support/adapters.ts';
import { tinyCheckpoint } from '../support/tiny.ts';

const folder = new URL('./adapters/', import.meta.url);
const at = (path: string) => new URL(path, folder).pathname;

interface Expected {
  tokens: number[];
  adapters: Record<string, { logprobs: number[][] }>;
}

/** The adapter in `adapters/own`, as this project makes it. */
async function ownAdapter(): Promise<Adapter> {
  const { config } = await tinyCheckpoint('llama-tied');
  const sites = linearSites(config, 0, config.layers);
  return randomAdapter(sites, { rank: 3, alpha: 5, seed: 8 });
}

if (process.env['WRITE_ADAPTER']) await writeAdapter(at('own'), await ownAdapter());

describe.each(['peft-lora', 'peft-rslora', 'own'])('the adapter %s', (name) => {
  it('gives here the log-probs that it gives in PEFT', async () => {
    const checkpoint = await tinyCheckpoint('llama-tied');
    const tokenizer = await buildTokenizer(checkpoint.tokenizer);
    const runtime = ortRuntime(ort);
    const engine = await ChatEngine.create({ checkpoint, tokenizer, runtime });
    engine.setAdapter(await openAdapter(at(name)));
    const { tokens, adapters } = JSON.parse(
      await readFile(at('expected.json'), 'utf8'),
    ) as Expected;
    for (const [t, expected] of adapters[name]!.logprobs.entries()) {
      const found = await engine.next(tokens.slice(0, t + 1));
      const furthest = Math.max(...expected.map((x, i) => Math.abs(x - found[i]!)));
      expect(furthest).toBeLessThan(1e-5);
    }
  });
});

it('what PEFT has read is what is written today, byte for byte', async () => {
  const { config, tensors } = writePeft(await ownAdapter());
  expect(config).toBe(await readFile(at('own/adapter_config.json'), 'utf8'));
  expect(Buffer.compare(tensors, await readFile(at('own/adapter_model.safetensors')))).toBe(0);
});
