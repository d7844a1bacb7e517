import * as ort from 'onnxruntime-node';
import { describe, expect, test, vi } from 'vitest';
import {
  hasRelaxedSimd,
  kernelModule,
  kernelModuleOf,
  spawnKernelThread,
} from '../../../../../tests/support/kernels.ts';
import { describeProducts } from '../../../../../tests/support/products.ts';
import { runGraph } from '../../../../../tests/support/run-graph.ts';
import { Graph, float32, int64, zeros } from '../../graph/index.ts';
import type { Tensor, Value } from '../../graph/index.ts';
import * as op from '../../graph/build.ts';
import { ortRuntime } from '../ort.ts';
import { SharedHeap } from './memory.ts';
import { createSimdRuntime, type KernelThread, type SimdOptions } from './simd-runtime.ts';

const runtime = async (options: Partial<SimdOptions> = {}) =>
  createSimdRuntime({ module: await kernelModule(), ...options });

const wave = (shape: readonly number[], seed: number, size = 1): Tensor<'float32'> =>
  float32(
    shape,
    Array.from(
      { length: shape.reduce((a, b) => a * b, 1) },
      (_, i) => size * Math.sin(seed + i * 1.7),
    ),
  );

function closest(found: Tensor, expected: Tensor): number {
  expect(found.shape).toEqual(expected.shape);
  let worst = 0;
  for (let i = 0; i < expected.data.length; i++) {
    worst = Math.max(worst, Math.abs(Number(found.data[i]) - Number(expected.data[i])));
  }
  return worst;
}

const kinds = (await hasRelaxedSimd()) ? (['plain', 'relaxed'] as const) : (['plain'] as const);
for (const kind of kinds) {
  for (const threads of [1, 2]) {
    describeProducts(`${kind} SIMD, ${threads} threads`, {
      module: () => kernelModuleOf(kind),
      bits: kind === 'relaxed' ? 8 : 16,
      reference: async () => ortRuntime(ort),
      ...{ threads, spawn: spawnKernelThread },
    });
  }
}

/** A llama layer as models write it: rotary angles, grouped heads, two segments, adapters, SwiGLU. */
function layer(): Graph {
  const [V, C, H, KV, D, F] = [19, 24, 4, 2, 6, 20];
  const graph = new Graph();
  const tokens = graph.input('tokens', 'int64', ['B', 'T']);
  const positions = graph.input('positions', 'int64', ['B', 'T']);
  const maskPast = graph.input('mask.past', 'float32', ['B', 'P']);
  const maskNew = graph.input('mask.new', 'float32', ['T', 'T']);
  const past = (name: string) => graph.input(name, 'float32', ['B', KV, 'P', D]);
  const [pastKeys, pastValues] = [past('past.k'), past('past.v')];
  const weight = (name: string, ...shape: number[]) => graph.weight(name, 'float32', shape);
  const linear = (x: Value, name: string, outputs: number, inputs: number): Value => {
    const a = graph.input(`lora.${name}.a`, 'float32', [inputs, 'R']);
    const b = graph.input(`lora.${name}.b`, 'float32', ['R', outputs]);
    const base = op.matmulTransposed(x, weight(`${name}.weight`, outputs, inputs));
    return op.add(base, op.matmul(op.matmul(x, a), b));
  };
  const frequencies = graph.constant(wave([D / 2], 1));
  const angles = op.mul(op.unsqueeze(op.cast(positions, 'float32'), [2]), frequencies);
  const [c, s] = [op.unsqueeze(op.cos(angles), [2]), op.unsqueeze(op.sin(angles), [2])];
  const rotate = (x: Value): Value => {
    const [low, high] = [op.slice(x, 3, 0, D / 2), op.slice(x, 3, D / 2, D)];
    const first = op.sub(op.mul(low, c), op.mul(high, s));
    return op.concat([first, op.add(op.mul(high, c), op.mul(low, s))], 3);
  };
  const heads = (x: Value, count: number) => op.reshape(x, ['B', 'T', count, D]);
  const turn = (x: Value) => op.transpose(x, [0, 2, 1, 3]);

  const embedding = weight('embedding', V, C);
  const x = op.gather(embedding, tokens);
  const h = op.rmsNorm(x, weight('norm1', C), 1e-5);
  const q = turn(rotate(heads(linear(h, 'q', H * D, C), H)));
  const k = turn(rotate(heads(linear(h, 'k', KV * D, C), KV)));
  const v = turn(heads(linear(h, 'v', KV * D, C), KV));
  const grouped = op.reshape(op.mul(q, 1 / Math.sqrt(D)), ['B', KV, H / KV, 'T', D]);
  const each = (t: Value) => op.unsqueeze(t, [2]);
  const old = op.add(
    op.matmulTransposed(grouped, each(pastKeys)),
    op.unsqueeze(maskPast, [1, 2, 3]),
  );
  const now = op.add(op.matmulTransposed(grouped, each(k)), maskNew);
  const shares = op.softmax(op.concat([old, now], 4));
  const [oldShares, newShares] = op.splitLike(shares, 4, [
    { value: old, axis: 4 },
    { value: now, axis: 4 },
  ]);
  const mixed = op.add(op.matmul(oldShares!, each(pastValues)), op.matmul(newShares!, each(v)));
  const joined = turn(op.reshape(mixed, ['B', H, 'T', D]));
  const y = op.add(x, linear(op.reshape(joined, ['B', 'T', H * D]), 'o', C, H * D));
  const m = op.rmsNorm(y, weight('norm2', C), 1e-5);
  const gate = linear(m, 'gate', F, C);
  const silu = op.mul(gate, op.sigmoid(gate));
  const z = op.add(y, linear(op.mul(silu, linear(m, 'up', F, C)), 'down', C, F));
  graph.output('keys', k);
  graph.output('values', v);
  graph.output('logits', op.matmulTransposed(z, embedding));
  return graph;
}

function feedsOf(graph: Graph, sizes: Readonly<Record<string, number>>): Record<string, Tensor> {
  const { B, T, P } = sizes as { B: number; T: number; P: number };
  const feeds: Record<string, Tensor> = {};
  graph.inputs.forEach(({ name, shape }, i) => {
    const numbers = shape.map((d) => (typeof d === 'number' ? d : sizes[d]!));
    feeds[name] = wave(numbers, i, 0.5);
  });
  feeds['tokens'] = int64(
    [B, T],
    Array.from({ length: B * T }, (_, i) => (i * 7) % 19),
  );
  feeds['positions'] = int64(
    [B, T],
    Array.from({ length: B * T }, (_, i) => P + (i % T)),
  );
  const causal = (_: unknown, i: number) => (i % T <= Math.floor(i / T) ? 0 : -1e9);
  feeds['mask.new'] = float32([T, T], Array.from({ length: T * T }, causal));
  feeds['mask.past'] = float32(
    [B, P],
    Array.from({ length: B * P }, (_, i) => (i % P < 2 ? 0 : -1e9)),
  );
  return feeds;
}

const weightsOf = (graph: Graph): Record<string, Tensor> =>
  Object.fromEntries(
    graph.weights.map(({ name, shape }, i) => [name, wave(shape as readonly number[], i, 0.4)]),
  );

describe.each([1, 2])('a layer on %i threads', (threads) => {
  const graph = layer();
  const weights = weightsOf(graph);

  test.each([
    { B: 1, T: 1, P: 3, R: 0 },
    { B: 1, T: 1, P: 3, R: 3 },
    { B: 2, T: 5, P: 0, R: 0 },
    { B: 2, T: 6, P: 4, R: 2 },
    { B: 3, T: 1, P: 9, R: 5 },
    { B: 4, T: 1, P: 9, R: 5 },
  ])('computes what ONNX Runtime computes at %o', async (sizes) => {
    const own = await runtime({ threads, spawn: spawnKernelThread });
    const session = await own.load(graph, (name) => weights[name]!);
    const feeds = feedsOf(graph, sizes);
    const expected = await (await runGraph(ort, graph, weights))(feeds);
    // The second run takes the plan of the first.
    for (let i = 0; i < 2; i++) {
      const found = await session.run(feeds);
      for (const name of Object.keys(expected)) {
        expect(closest(found[name]!, expected[name]!), name).toBeLessThan(1e-5);
      }
    }
    await session.dispose();
    await own.dispose();
  });
});

test('when a helper thread does not start, those before it are stopped', async () => {
  let stopped = 0;
  const spawn = async ({ thread }: KernelThread) => {
    if (thread === 2) throw new Error('no more threads');
    return { stop: () => void stopped++ };
  };
  await expect(runtime({ threads: 4, spawn })).rejects.toThrow('no more threads');
  expect(stopped).toBe(1);
});

describe('helper threads share whatever they come in time for', () => {
  const graph = new Graph();
  let x = graph.input('x', 'float32', ['T', 128]);
  for (let i = 0; i < 100; i++) {
    x = op.tanh(op.matmulTransposed(x, graph.weight(`w${i}`, 'float32', [128, 128])));
  }
  graph.output('y', x);
  const weights = (name: string) => wave([128, 128], Number(name.slice(1)), 0.2);
  const feeds = { x: wave([3, 128], 5) };

  const computed = async (options: Partial<SimdOptions>, runs: number) => {
    const own = await runtime(options);
    const session = await own.load(graph, weights);
    const found = [];
    for (let i = 0; i < runs; i++) found.push([...(await session.run(feeds))['y']!.data]);
    await own.dispose();
    return found;
  };
  const alone = computed({}, 1).then(([y]) => y!);

  test('and those that never come are not waited for', async () => {
    const spawn = async () => ({ stop: () => undefined });
    expect(await computed({ threads: 4, spawn }, 2)).toEqual([await alone, await alone]);
  });

  // As on a page's first run: engines compile anew what they have not seen, quickly first.
  test.each(kinds)('also in code just compiled, %s SIMD', async (kind) => {
    const expected = await computed({ module: await kernelModuleOf(kind) }, 1);
    for (let i = 0; i < 20; i++) {
      const module = await kernelModuleOf(kind, i);
      const found = await computed({ module, threads: 2, spawn: spawnKernelThread }, 3);
      for (const y of found) expect(y).toEqual(expected[0]);
    }
  });
});

test('another adapter of the same rank takes effect at the next run', async () => {
  const graph = layer();
  const weights = weightsOf(graph);
  const session = await (await runtime()).load(graph, (name) => weights[name]!);
  const feeds = feedsOf(graph, { B: 1, T: 1, P: 4, R: 2 });
  await session.run(feeds);
  feeds['lora.q.a'] = zeros(feeds['lora.q.a']!.shape);
  feeds['lora.gate.b'] = zeros(feeds['lora.gate.b']!.shape);
  const expected = await (await runGraph(ort, graph, weights))(feeds);
  expect(closest((await session.run(feeds))['logits']!, expected['logits']!)).toBeLessThan(1e-5);
});

test('outputs that are lent are those that are copied, until the next run', async () => {
  const graph = layer();
  const weights = weightsOf(graph);
  const session = await (await runtime()).load(graph, (name) => weights[name]!);
  const [few, many] = [{ P: 4 }, { P: 9 }].map(({ P }) => feedsOf(graph, { B: 2, T: 3, P, R: 2 }));
  for (const feeds of [few!, many!, few!]) {
    const copied = await session.run(feeds);
    const lent = await session.run(feeds, { lend: true });
    for (const [name, tensor] of Object.entries(copied)) {
      expect([...lent[name]!.data], name).toEqual([...tensor.data]);
    }
  }
});

test('rows of what was computed are picked as ONNX Runtime picks them', async () => {
  const graph = new Graph();
  const x = graph.input('x', 'float32', [2, 'T', 5]);
  const places = graph.input('places', 'int64', [2, 'S', 1]);
  graph.output('y', op.neg(op.gatherND(op.exp(x), places, 1)));
  const session = await (await runtime()).load(graph, () => zeros([1]));
  const reference = await runGraph(ort, graph, {});
  for (const [T, list] of [
    [4, [3, 0, 0, -1, 2, 1]],
    [1, [0, 0]],
    [4, [1, 1, 1, 0, -4, 3]],
  ] as const) {
    const feeds = { x: wave([2, T, 5], T), places: int64([2, list.length / 2, 1], list) };
    const expected = await reference(feeds);
    expect(closest((await session.run(feeds))['y']!, expected['y']!)).toBeLessThan(1e-6);
  }
  const outside = { x: wave([2, 4, 5], 1), places: int64([2, 1, 1], [0, 4]) };
  await expect(session.run(outside)).rejects.toThrow('no row 4 of 4');
});

test('an operator without a kernel is refused by name', async () => {
  const graph = new Graph();
  const x = graph.input('x', 'float32', [3]);
  graph.output('y', op.erf(x));
  const session = await (await runtime()).load(graph, () => zeros([1]));
  await expect(session.run({ x: zeros([3]) })).rejects.toThrow(/operator Erf/);
});

test('wherever memory ends in a run, the next one computes the same, and all is given back once', async () => {
  const { allocate, free } = SharedHeap.prototype;
  const live = new Set<number>();
  let [failAfter, freedTwice] = [Infinity, 0];
  const spies = [
    vi.spyOn(SharedHeap.prototype, 'allocate').mockImplementation(function (
      this: SharedHeap,
      bytes,
    ) {
      if (failAfter-- === 0) throw new RangeError('no more memory');
      const at = allocate.call(this, bytes);
      live.add(at);
      return at;
    }),
    vi.spyOn(SharedHeap.prototype, 'free').mockImplementation(function (this: SharedHeap, at) {
      // Nothing lies at 0.
      if (!live.delete(at) && at > 0) freedTwice++;
      free.call(this, at);
    }),
  ];
  const graph = layer();
  const weights = weightsOf(graph);
  const own = await runtime();
  const few = feedsOf(graph, { B: 1, T: 1, P: 4, R: 2 });
  // The third feeds the very tensors of the first.
  const runs = [few, feedsOf(graph, { B: 2, T: 6, P: 9, R: 3 }), few];
  const load = () => own.load(graph, (name) => weights[name]!);
  const plain = await load();
  const expected: (Tensor | undefined)[] = [];
  for (const feeds of runs) expected.push((await plain.run(feeds))['logits']);
  await plain.dispose();
  const before = live.size;
  for (let after = 0, failed = true; failed; after++) {
    const session = await load();
    failed = false;
    failAfter = after;
    for (const [i, feeds] of runs.entries()) {
      const found = await session.run(feeds).catch((error: unknown) => {
        expect(error).toBeInstanceOf(RangeError);
        failed = true;
        // What was fed before has a place of its own again.
        return session.run(few).then(({ logits }) => {
          expect(logits).toEqual(expected[0]);
          return session.run(feeds);
        });
      });
      expect(found['logits'], `run ${i}, after ${after} allocations`).toEqual(expected[i]);
    }
    failAfter = Infinity;
    await session.dispose();
    expect(live.size).toBe(before);
  }
  expect(freedTwice).toBe(0);
  for (const spy of spies) spy.mockRestore();
});
