// An adapter file in PEFT layout (A [r, in], B [out, r]) as the engine feeds it (A [in, r], B [r, out]).
import { blobSource, RapportError, readSafetensors } from '@rapport/core';
import type { Adapter } from '@rapport/rlhf';

/** Throws `model/bad-adapter` when the file holds no adapter of this rank. */
export async function readPeft(
  blob: Blob,
  { rank, alpha }: { rank: number; alpha: number },
): Promise<Adapter> {
  const tensors = await readSafetensors(blobSource(blob));
  const targets = new Map<string, { a: Float32Array; b: Float32Array }>();
  for (const [name, { shape, data }] of tensors) {
    const path = /^(?:base_model\.model\.)?(.+)\.lora_A(?:\.default)?\.weight$/.exec(name)?.[1];
    const b = path && tensors.get(name.replace('.lora_A', '.lora_B'));
    if (!path || !b) continue;
    if (shape[0] !== rank || b.shape[1] !== rank) throw badAdapter(`${path} has another rank`);
    targets.set(path, {
      a: transposed(data, rank, shape[1]!),
      b: transposed(b.data, b.shape[0]!, rank),
    });
  }
  if (targets.size === 0) throw badAdapter('it holds no LoRA tensors');
  return { rank, alpha, targets };
}

function badAdapter(why: string): RapportError {
  return new RapportError(
    'model/bad-adapter',
    `The adapter cannot be used: ${why}.`,
    'The release before it is used instead.',
  );
}

/** `[rows, columns]` → `[columns, rows]`. */
function transposed(data: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) out[j * rows + i] = data[i * columns + j]!;
  }
  return out;
}
