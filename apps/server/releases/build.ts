// A release from what training or somebody else made: an adapter folder in PEFT layout on a base.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  bytesSource,
  RapportError,
  readPeft,
  readPeftConfig,
  type BaseModel,
  type Golden,
  type Release,
} from '@rapport/core';
import type { Blobs } from '../store/blobs.ts';

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
  const { bytes, rank, alpha, targets } = await readAdapterFolder(adapterFolder);
  const file = await blobs.put(bytes, 'adapter_model.safetensors');
  const adapter = {
    digest: file.digest,
    size: file.sizeBytes,
    rank,
    alpha,
    targets,
  };
  return { ...rest, adapter, chunks: file.chunks };
}

async function readAdapterFolder(folder: string) {
  try {
    const text = await readFile(join(folder, 'adapter_config.json'), 'utf8');
    const { rank, alpha } = readPeftConfig(JSON.parse(text));
    const bytes = await readFile(join(folder, 'adapter_model.safetensors'));
    const { targets } = await readPeft(bytesSource(bytes), { rank, alpha });
    return { bytes, rank, alpha, targets: [...targets.keys()].sort() };
  } catch (cause) {
    throw new RapportError(
      'release/bad-adapter',
      `${folder} is not a LoRA adapter in PEFT layout: ${(cause as Error).message}.`,
      'Give a folder with adapter_config.json and adapter_model.safetensors.',
      { cause },
    );
  }
}
