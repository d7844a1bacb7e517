import * as ort from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { fromHalf } from '../../../../tests/support/halves.ts';
import { kernelModule } from '../../../../tests/support/kernels.ts';
import { tinyCheckpoint } from '../../../../tests/support/tiny.ts';
import { float32, int64, type Tensor } from '../graph/tensor.ts';
import { chatGraph } from '../models/chat-graph.ts';
import { causalMask } from '../models/model-graph.ts';
import { Random } from '../random.ts';
import { ortRuntime } from '../runtime/ort.ts';
import type { Runtime } from '../runtime/runtime.ts';
import { createSimdRuntime } from '../runtime/simd/simd-runtime.ts';
import type { KeyValueCache } from './key-value-cache.ts';
import type { KeyValueRows } from './key-value-rows.ts';
import { PrefixCache } from './prefix-cache.ts';

const runtimes: [string, () => Promise<Runtime>, number][] = [
  ['ONNX Runtime', async () => ortRuntime(ort), 1e-5],
  ['our own kernels', async () => createSimdRuntime({ module: await kernelModule() }), 1e-3],
];

/** A model that reads tokens into a cache. */
async function modelOn(runtime: Runtime) {
  const checkpoint = await tinyCheckpoint('llama-tied');
  const { config } = checkpoint;
  const session = await runtime.load(chatGraph(config, [], { shared: true }), async (name) =>
    float32(checkpoint.tensors.get(name)!.shape, await checkpoint.read(name)),
  );
  /** `rows`: as many tokens for each slot, of this sequence or of replies that go on from it. */
  const read = (
    kept: PrefixCache,
    rows: readonly (readonly number[])[],
    slots?: KeyValueCache,
  ): Promise<Record<string, Tensor>> => {
    const width = rows[0]!.length;
    const shape = [rows.length, width];
    const start = kept.tokens.length;
    const positions = rows.flatMap((row, slot) =>
      row.map((_, t) => start + (slots?.lengths[slot] ?? 0) + t),
    );
    const feeds = {
      ...kept.feeds(slots),
      tokens: int64(shape, rows.flat()),
      positions: int64(shape, positions),
      mask: causalMask(width, config.heads / config.kvHeads),
      last: int64(
        [rows.length, 1, 1],
        rows.map(() => width - 1),
      ),
    };
    return session.run(feeds, { exact: true });
  };
  return { config, read };
}

const numbersOf = ({ dtype, data }: KeyValueRows): Float32Array =>
  dtype === 'float16'
    ? fromHalf({ dtype, shape: [data.length], data: data as Uint16Array }).data
    : (data as Float32Array);

const furthest = (a: Float32Array, b: Float32Array) =>
  a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);

describe.each(runtimes)('on %s', (_, start, tolerance) => {
  test.each([
    ['all', 1e9, 1],
    ['some', 300_000, 2],
    ['only the held branch', 0, 3],
  ])(
    'after random edits, branches and alternates with room for %s the cache is as read anew',
    async (_, budgetBytes, seed) => {
      const runtime = await start();
      const { config, read } = await modelOn(runtime);
      const { memory } = runtime;
      const kept = new PrefixCache(config, { budgetBytes, memory });
      const random = new Random(seed);
      const some = (count: number) => Array.from({ length: count }, () => random.integer(64));
      const append = (tokens: number[], made: Record<string, Tensor>) => kept.append(tokens, made);
      const known: number[][] = [[]];
      let [toRead, asked] = [0, 0];
      for (let turn = 0; turn < 25; turn++) {
        const from = known[random.integer(known.length)]!;
        const start = from.slice(0, random.integer(2) ? from.length : random.integer(from.length));
        const tokens = [...start, ...some(1 + random.integer(90))];
        kept.select(tokens);
        asked += tokens.length;
        toRead += tokens.length - kept.tokens.length;
        while (kept.tokens.length < tokens.length) {
          const part = tokens.slice(kept.tokens.length).slice(0, 1 + random.integer(40));
          append(part, await read(kept, [part]));
        }
        known.push(tokens);
        if (turn % 5 === 0) {
          const replies = [some(3), some(3)];
          const slots = kept.spread();
          replies.forEach(() => slots.add());
          for (let t = 0; t < 3; t++) {
            const next = replies.map((reply) => reply.slice(t, t + 1));
            kept.appendTo(slots, await read(kept, next, slots));
          }
          replies.forEach((reply, slot) => kept.keep(reply, slots, slot));
          slots.dispose();
          known.push(...replies.map((reply) => [...tokens, ...reply]));
        }
        const anew = new PrefixCache(config, { budgetBytes: 0, memory });
        anew.append(tokens, await read(anew, [tokens]));
        const { length } = tokens;
        const [held, expected] = [kept, anew].map(({ cache }) =>
          numbersOf(cache.take(0, 0, length)),
        );
        expect(furthest(held!, expected!)).toBeLessThan(tolerance);
        anew.dispose();
        expect(kept.sizeBytes).toBeLessThanOrEqual(Math.max(budgetBytes, kept.cache.sizeBytes));
      }
      if (budgetBytes > 0) expect(toRead).toBeLessThan(0.8 * asked);
      kept.dispose();
    },
  );
});
