// What the machine could do at best: bytes through memory, multiplications in WASM. A token has to read every
// weight once, and the keys and values of what was said; a prompt has to multiply by every weight.
import type { Checkpoint } from '@rapport/core';
import type { Limits } from './page/limits.worker.ts';
import type { Match } from './match.ts';
import { METRICS, named, type Sizes } from './workloads.ts';

/** Bytes that speaking one token reads: weights as stored or as fp32, and fp32 keys and values. */
export function bytesAToken(
  { config, tensors }: Pick<Checkpoint, 'config' | 'tensors'>,
  storedBytes: ReadonlyMap<string, number> | 'fp32',
  past: number,
): number {
  let bytes = 0;
  for (const [name, { shape }] of tensors) {
    const elements = shape.reduce((a, b) => a * b, 1);
    bytes += storedBytes === 'fp32' ? 4 * elements : storedBytes.get(name)!;
  }
  return bytes + past * config.layers * 2 * config.kvHeads * config.headDim * 4;
}

/** Multiplications and additions of reading `count` tokens, of which one is spoken after. */
export function flopsOfPrompt(
  { config, tensors }: Pick<Checkpoint, 'config' | 'tensors'>,
  count: number,
) {
  const head = config.vocab * config.hidden;
  let linears = 0;
  for (const { shape } of tensors.values()) {
    const elements = shape.reduce((a, b) => a * b, 1);
    if (shape.length === 2 && elements !== head) linears += elements;
  }
  // Scores and mixed values over what came before, half of all pairs.
  const attention = 2 * config.layers * config.heads * config.headDim * count;
  return count * (2 * linears + attention) + 2 * head;
}

/** Rows of the limits themselves, and of what they allow. */
export async function limitRows(
  match: Match,
  checkpoint: Checkpoint,
  { flops, bytes }: Limits,
  sizes: Sizes,
): Promise<void> {
  const engine = 'limit of this machine';
  match.add(
    engine,
    'reading memory in WASM SIMD, all threads',
    ['bandwidth', 'GB/s'],
    [bytes / 1e9],
  );
  match.add(engine, 'fp32 in WASM SIMD, all threads', ['arithmetic', 'GFLOP/s'], [flops / 1e9]);
  const stored = new Map<string, number>();
  for (const name of checkpoint.tensors.keys()) {
    const raw = await checkpoint.readRaw?.(name);
    const elements = checkpoint.tensors.get(name)!.shape.reduce((a, b) => a * b, 1);
    stored.set(name, raw?.bytes.byteLength ?? 4 * elements);
  }
  for (const past of sizes.pasts) {
    for (const [name, sizes] of [
      ['blocks as stored', stored],
      ['weights in fp32', 'fp32'],
    ] as const) {
      const ms = (bytesAToken(checkpoint, sizes, past) / bytes) * 1000;
      const label = `limit: bandwidth, ${name}`;
      match.add(label, named.decode(past), METRICS.aToken, [ms]);
    }
  }
  for (const count of sizes.prompts) {
    const ms = (flopsOfPrompt(checkpoint, count) / flops) * 1000;
    match.add('limit: arithmetic', named.read(count), METRICS.time, [ms]);
  }
}
