// Adapters in PEFT layout as folders of this disk.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bytesSource, readPeft, writePeft, type Adapter } from '@rapport/core';

/** Writes `adapter_config.json` and `adapter_model.safetensors` into `folder`. */
export async function writeAdapter(folder: string, adapter: Adapter): Promise<void> {
  const { config, tensors } = writePeft(adapter);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'adapter_config.json'), config);
  await writeFile(join(folder, 'adapter_model.safetensors'), tensors);
}

/** Reads an adapter's tensors; rank and alpha are those its config says. Throws `adapter/unreadable`. */
export async function readAdapter(
  file: string,
  { rank, alpha }: { rank: number; alpha: number },
): Promise<Adapter> {
  return readPeft(bytesSource(await readFile(file)), { rank, alpha });
}
