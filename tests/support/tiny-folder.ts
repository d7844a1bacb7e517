// A tiny checkpoint with a tokenizer as a folder in Hugging Face layout, for the command line: it trains
// in seconds what the real model trains in minutes.
import { cp, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tinyTokenizer } from './tiny-tokenizer.ts';

const checkpoints = fileURLToPath(new URL('../reference/checkpoints', import.meta.url));

/** A copy of the checkpoint `name` with a tokenizer, in a new temporary folder. */
export async function tinyFolder(name = 'llama-tied'): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), `rapport-${name}-`));
  await cp(join(checkpoints, name), folder, { recursive: true });
  const config = join(folder, 'config.json');
  const known = JSON.parse(await readFile(config, 'utf8')) as Record<string, unknown>;
  await writeFile(config, JSON.stringify({ ...known, max_position_embeddings: 1024 }));
  const { tokenizerJson, tokenizerConfig } = tinyTokenizer;
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(tokenizerJson));
  await writeFile(join(folder, 'tokenizer_config.json'), JSON.stringify(tokenizerConfig));
  return folder;
}
