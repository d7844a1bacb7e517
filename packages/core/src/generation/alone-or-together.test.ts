// What our own kernels compute for a token is the same to the last bit, whatever it is read with.
import { beforeAll, describe, expect, test } from 'vitest';
import { realCheckpoint } from '../../../../tests/support/checkpoint.ts';
import { hasRelaxedSimd, kernelModuleOf } from '../../../../tests/support/kernels.ts';
import { float32, int64, type Tensor } from '../graph/tensor.ts';
import { chatGraph } from '../models/chat-graph.ts';
import { causalMask } from '../models/model-graph.ts';
import type { Runtime, Session } from '../runtime/runtime.ts';
import { createSimdRuntime } from '../runtime/simd/simd-runtime.ts';
import type { Checkpoint } from '../weights/checkpoint.ts';
import type { KeyValueCache } from './key-value-cache.ts';
import { PrefixCache } from './prefix-cache.ts';

const kinds = (await hasRelaxedSimd()) ? (['plain', 'relaxed'] as const) : (['plain'] as const);
const TOKENS = Array.from({ length: 21 }, (_, i) => 1000 + 371 * i);

describe.each(kinds)('with %s SIMD', (kind) => {
  let checkpoint: Checkpoint;
  let runtime: Runtime;
  let session: Session;
  beforeAll(async () => {
    checkpoint = await realCheckpoint();
    runtime = await createSimdRuntime({
      module: await kernelModuleOf(kind),
      readRaw: async (name) => checkpoint.readRaw?.(name),
    });
    const graph = chatGraph(checkpoint.config, [], { shared: true });
    session = await runtime.load(graph, async (name) =>
      float32(checkpoint.tensors.get(name)!.shape, await checkpoint.read(name)),
    );
  });

  const newCache = () =>
    new PrefixCache(checkpoint.config, { budgetBytes: 0, memory: runtime.memory });

  /** Reads as many tokens for each row; their scores are [rows, tokens, V]. */
  function read(
    kept: PrefixCache,
    rows: readonly (readonly number[])[],
    slots?: KeyValueCache,
  ): Promise<Record<string, Tensor>> {
    const { heads, kvHeads } = checkpoint.config;
    const places = rows[0]!.map((_, t) => t);
    const shape = [rows.length, places.length];
    const positions = rows.flatMap((_, slot) =>
      places.map((t) => kept.tokens.length + (slots?.lengths[slot] ?? 0) + t),
    );
    return session.run({
      ...kept.feeds(slots),
      tokens: int64(shape, rows.flat()),
      positions: int64(shape, positions),
      mask: causalMask(places.length, heads / kvHeads),
      last: int64(
        [...shape, 1],
        rows.flatMap(() => places),
      ),
    });
  }

  /** Scores after each of `TOKENS`, which are read in parts of these sizes. */
  async function scores(sizes: readonly number[]): Promise<Float32Array[]> {
    const { vocab } = checkpoint.config;
    const kept = newCache();
    const all: Float32Array[] = [];
    for (const size of sizes) {
      const part = TOKENS.slice(kept.tokens.length, kept.tokens.length + size);
      const made = await read(kept, [part]);
      kept.append(part, made);
      const logits = made['logits']!.data as Float32Array;
      for (let at = 0; at < logits.length; at += vocab) all.push(logits.slice(at, at + vocab));
    }
    kept.dispose();
    return all;
  }

  const differing = (a: Float32Array, b: Float32Array): number =>
    a.reduce((count, x, i) => count + Number(x !== b[i]), 0);

  test('tokens get the same scores one by one, in any parts, and beside alternates', async () => {
    const alone = await scores(TOKENS.map(() => 1));
    for (const sizes of [[21], [8, 8, 5], [1, 4, 3, 7, 2, 4]]) {
      const together = await scores(sizes);
      expect(together.map((row, t) => differing(row, alone[t]!))).toEqual(TOKENS.map(() => 0));
    }
    const { vocab } = checkpoint.config;
    const kept = newCache();
    const prompt = TOKENS.slice(0, 17);
    kept.append(prompt, await read(kept, [prompt]));
    const slots = kept.spread();
    for (let i = 0; i < 3; i++) slots.add();
    for (let t = 17; t < TOKENS.length; t++) {
      const made = await read(kept, [[5 * t], [TOKENS[t]!], [7 * t]], slots);
      kept.appendTo(slots, made);
      const logits = made['logits']!.data as Float32Array;
      expect(differing(logits.slice(vocab, 2 * vocab), alone[t]!)).toBe(0);
    }
    slots.dispose();
    kept.dispose();
  });
});
