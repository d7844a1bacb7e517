// A release from what training or somebody else made: an adapter folder in PEFT layout on a base.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import {
  bytesSource,
  RapportError,
  readSafetensors,
  type BaseModel,
  type Golden,
  type Release,
} from '@rapport/core';
import type { Blobs } from '../store/blobs.ts';

const PeftConfig = v.object({
  peft_type: v.optional(v.literal('LORA')),
  r: v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(4096)),
  lora_alpha: v.pipe(v.number(), v.finite()),
  target_modules: v.union([v.string(), v.array(v.string())]),
});

export interface ReleaseParts {
  base: BaseModel;
  /** A folder with adapter_config.json and adapter_model.safetensors. */
  adapterFolder?: string;
  tokenizerDigest: string;
  golden?: Golden;
  evaluation?: Record<string, unknown>;
  dataset?: { digest: string; count: number; devices: number };
  parents?: string[];
}

/** Keeps the adapter's file and describes the release. Throws `release/bad-adapter`. */
export async function buildRelease(blobs: Blobs, parts: ReleaseParts): Promise<Release> {
  const { base, adapterFolder, tokenizerDigest, golden, evaluation = {}, parents = [] } = parts;
  const dataset = parts.dataset ?? { digest: null, count: 0, devices: 0 };
  const rest = {
    base,
    tokenizer: { digest: tokenizerDigest },
    ...(golden && { golden }),
    evaluation,
    dataset,
    parents,
  };
  if (!adapterFolder) return { ...rest, chunks: base.files[0]!.chunks };
  const { bytes, config, targets } = await readAdapterFolder(adapterFolder);
  const file = await blobs.put(bytes, 'adapter_model.safetensors');
  const adapter = {
    digest: file.digest,
    size: file.sizeBytes,
    rank: config.r,
    alpha: config.lora_alpha,
    targets,
  };
  return { ...rest, adapter, chunks: file.chunks };
}

async function readAdapterFolder(folder: string) {
  try {
    const text = await readFile(join(folder, 'adapter_config.json'), 'utf8');
    const config = v.parse(PeftConfig, JSON.parse(text));
    const bytes = await readFile(join(folder, 'adapter_model.safetensors'));
    const tensors = await readSafetensors(bytesSource(bytes));
    const names = [...tensors.keys()].flatMap((name) => modulePath(name) ?? []);
    if (names.length === 0) throw new Error('it holds no lora_A tensors');
    return { bytes, config, targets: [...new Set(names)].sort() };
  } catch (cause) {
    throw new RapportError(
      'release/bad-adapter',
      `${folder} is not a LoRA adapter in PEFT layout: ${(cause as Error).message}.`,
      'Give a folder with adapter_config.json and adapter_model.safetensors.',
      { cause },
    );
  }
}

/** `base_model.model.model.layers.0.mlp.up_proj.lora_A.weight` → `model.layers.0.mlp.up_proj`. */
const modulePath = (name: string) =>
  /^(?:base_model\.model\.)?(.+)\.lora_A(?:\.default)?\.weight$/.exec(name)?.[1];
