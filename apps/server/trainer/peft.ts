// Adapters in PEFT layout on disk. Training has A as [in, r] and B as [r, out]; PEFT has them
// transposed. This is the one place of the server where that is turned.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bytesSource, readSafetensors, writeSafetensors, type NamedTensor } from '@rapport/core';
import type { Adapter } from '@rapport/rlhf';

const PREFIX = 'base_model.model.';

/** Writes `adapter_config.json` and `adapter_model.safetensors` into `folder`. */
export async function writeAdapter(folder: string, adapter: Adapter): Promise<void> {
  const { rank, alpha, targets } = adapter;
  const tensors = new Map<string, NamedTensor>();
  for (const [path, { a, b }] of targets) {
    const [inputs, outputs] = [a.length / rank, b.length / rank];
    tensors.set(`${PREFIX}${path}.lora_A.weight`, {
      shape: [rank, inputs],
      data: transposed(a, inputs, rank),
    });
    tensors.set(`${PREFIX}${path}.lora_B.weight`, {
      shape: [outputs, rank],
      data: transposed(b, rank, outputs),
    });
  }
  const config = {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    r: rank,
    lora_alpha: alpha,
    lora_dropout: 0,
    bias: 'none',
    target_modules: [...targets.keys()],
  };
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'adapter_config.json'), JSON.stringify(config, null, 2));
  await writeFile(join(folder, 'adapter_model.safetensors'), writeSafetensors(tensors));
}

/** Reads an adapter's tensors; rank and alpha are those its config says. */
export async function readAdapter(
  file: string,
  { rank, alpha }: { rank: number; alpha: number },
): Promise<Adapter> {
  const tensors = await readSafetensors(bytesSource(await readFile(file)));
  const targets = new Map<string, { a: Float32Array; b: Float32Array }>();
  for (const [name, { shape, data }] of tensors) {
    const path = /^(?:base_model\.model\.)?(.+)\.lora_A\.weight$/.exec(name)?.[1];
    const b = path && tensors.get(name.replace('.lora_A.', '.lora_B.'));
    if (!path || !b) continue;
    const [inputs, outputs] = [shape[1]!, b.shape[0]!];
    targets.set(path, {
      a: transposed(data, rank, inputs),
      b: transposed(b.data, outputs, rank),
    });
  }
  return { rank, alpha, targets };
}

/** `[rows, columns]` → `[columns, rows]`. */
function transposed(data: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) out[j * rows + i] = data[i * columns + j]!;
  return out;
}
