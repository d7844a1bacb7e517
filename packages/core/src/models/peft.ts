// Adapters as Python's PEFT writes them: A [r, in] and B [out, r], transposed to feed layout here and
// nowhere else (https://huggingface.co/docs/peft/developer_guides/checkpoint).
import * as v from 'valibot';
import { RapportError } from '../error.ts';
import type { ByteSource } from '../weights/byte-source.ts';
import { readSafetensors, writeSafetensors, type NamedTensor } from '../weights/safetensors.ts';
import type { Adapter } from './adapter.ts';

const PREFIX = 'base_model.model.';
const A_NAME = /^(?:base_model\.model\.)?(.+)\.lora_A(?:\.default)?\.weight$/;

/** What `adapter_config.json` must say. */
const ConfigSchema = v.object({
  peft_type: v.optional(v.literal('LORA')),
  r: v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(4096)),
  lora_alpha: v.pipe(v.number(), v.finite(), v.gtValue(0)),
  target_modules: v.union([v.string(), v.array(v.string())]),
  use_rslora: v.optional(v.nullable(v.boolean())),
});

/**
 * Rank and α of an `adapter_config.json`; with rsLoRA (arXiv 2312.03732) the α that scales alike.
 *
 * @throws RapportError `adapter/unreadable`
 */
export function readPeftConfig(json: unknown): { rank: number; alpha: number } {
  const read = v.safeParse(ConfigSchema, json);
  if (!read.success) {
    const at = v.getDotPath(read.issues[0]) ?? 'adapter_config.json';
    throw unreadable(`${at}: ${read.issues[0].message}`);
  }
  const { r: rank, lora_alpha: alpha, use_rslora } = read.output;
  return { rank, alpha: use_rslora ? alpha * Math.sqrt(rank) : alpha };
}

/**
 * The tensors of an `adapter_model.safetensors`.
 *
 * @throws RapportError `adapter/unreadable` for another rank, missing halves or no LoRA tensors;
 * `weights/*` for a damaged file.
 */
export async function readPeft(
  source: ByteSource,
  { rank, alpha }: { rank: number; alpha: number },
): Promise<Adapter> {
  const tensors = await readSafetensors(source);
  const targets = new Map<string, { a: Float32Array; b: Float32Array }>();
  for (const [name, { shape, data }] of tensors) {
    const path = A_NAME.exec(name)?.[1];
    if (!path) continue;
    const b = tensors.get(name.replace('.lora_A', '.lora_B'));
    if (!b) throw unreadable(`${path} has lora_A but no lora_B`);
    if (shape.length !== 2 || b.shape.length !== 2) throw unreadable(`${path} holds no matrices`);
    if (shape[0] !== rank || b.shape[1] !== rank) {
      throw unreadable(`${path} has not the rank ${rank} that its config says`);
    }
    targets.set(path, {
      a: transposed(data, rank, shape[1]!),
      b: transposed(b.data, b.shape[0]!, rank),
    });
  }
  for (const name of tensors.keys()) {
    const other = name.replace('.lora_B', '.lora_A');
    if (!tensors.has(other)) throw unreadable(`${name} has no lora_A beside it`);
  }
  if (targets.size === 0) throw unreadable('it holds no LoRA tensors');
  return { rank, alpha, targets };
}

/** The bytes of `adapter_model.safetensors` and the text of `adapter_config.json`. */
export function writePeft({ rank, alpha, targets }: Adapter): {
  config: string;
  tensors: Uint8Array;
} {
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
  return { config: JSON.stringify(config, null, 2), tensors: writeSafetensors(tensors) };
}

const unreadable = (why: string) =>
  new RapportError(
    'adapter/unreadable',
    `The adapter cannot be used: ${why}.`,
    'Give adapter_config.json and adapter_model.safetensors of one PEFT LoRA adapter.',
  );

/** `[rows, columns]` → `[columns, rows]`. */
function transposed(data: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) out[j * rows + i] = data[i * columns + j]!;
  }
  return out;
}
