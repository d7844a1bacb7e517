import * as ort from 'onnxruntime-node';
import { assert, describe, expect, test, vi } from 'vitest';
import {
  hasRelaxedSimd,
  kernelModuleOf,
  spawnKernelThread,
} from '../../../../../tests/support/kernels.ts';
import { fromHalf, nearestHalf, toHalf } from '../../../../../tests/support/halves.ts';
import { runGraph } from '../../../../../tests/support/run-graph.ts';
import { Graph, float32, int64, sizeOf, zeros } from '../../graph/index.ts';
import type { Node, Tensor, Value } from '../../graph/index.ts';
import * as op from '../../graph/build.ts';
import { chatGraph } from '../../models/chat-graph.ts';
import { causalMask } from '../../models/model-graph.ts';
import { Random } from '../../random.ts';
import type { ModelConfig } from '../../weights/model-config.ts';
import { findAttention, type Segment } from './attention.ts';
import { CODE, Program } from './program.ts';
import { createSimdRuntime } from './simd-runtime.ts';

/** Heads of 22 numbers: a whole tile, a vector, and two more. */
const CONFIG: ModelConfig = {
  architecture: 'llama',
  ...{ layers: 2, hidden: 24, heads: 6, kvHeads: 2, headDim: 22, ffn: 40, vocab: 19, context: 128 },
  ...{ ropeTheta: 1e4, normEpsilon: 1e-5, tiedHead: true, qkNorm: false },
  biases: { qkv: false, out: false, ffn: false },
};

function attentionsOf(graph: Graph) {
  const consumers = (value: Value): Node[] => graph.nodes.filter((n) => n.inputs.includes(value));
  const softmaxes = graph.nodes.filter((node) => node.op === 'Softmax');
  return softmaxes.flatMap((node) => findAttention(node, consumers) ?? []);
}

/** Attention as models write it. */
function attend(query: Value, segments: readonly Segment[]): Value {
  const scores = segments.map(({ keys, mask }) => op.add(op.matmulTransposed(query, keys), mask));
  const likes = scores.map((value) => ({ value, axis: 3 }));
  const parts = op.splitLike(op.softmax(op.concat(scores, 3)), 3, likes);
  return parts
    .map((part, i) => op.matmul(part, segments[i]!.values))
    .reduce((a, b) => op.add(a, b));
}

describe('attention in a graph', () => {
  test.each(['llama', 'gpt2'] as const)('is found in each layer of %s', (architecture) => {
    const config = { ...CONFIG, architecture, kvHeads: architecture === 'gpt2' ? 6 : 2 };
    const graph = chatGraph({ ...config, headDim: 4 }, [], { shared: true });
    const found = attentionsOf(graph);
    expect(found.map(({ segments }) => segments.length)).toEqual([3, 3]);
    expect(found[1]!.segments.map(({ keys }) => keys.name).slice(0, 2)).toEqual([
      'shared.k.1',
      'past.k.1',
    ]);
  });

  test.each([
    ['the scores', (found: Node) => found.inputs[0]!],
    ['the weights', (found: Node) => found.outputs[0]!],
  ])('is left as it is where another node needs %s', (_, valueOf) => {
    const graph = chatGraph({ ...CONFIG, layers: 1 }, []);
    const softmax = graph.nodes.find((node) => node.op === 'Softmax')!;
    graph.output('more', op.neg(valueOf(softmax)));
    expect(attentionsOf(graph)).toEqual([]);
  });
});

const kinds = (await hasRelaxedSimd()) ? (['plain', 'relaxed'] as const) : (['plain'] as const);
const runs = kinds.flatMap((kind) => [1, 2].map((threads) => ({ kind, threads })));

describe.each(runs)('attention with $kind SIMD on $threads threads', ({ kind, threads }) => {
  const graph = chatGraph(CONFIG, [], { shared: true });
  const random = new Random(3);
  const numbers = (shape: readonly number[], size = 1) =>
    float32(
      shape,
      Array.from({ length: sizeOf(shape) }, () => size * random.normal()),
    );
  const weights = Object.fromEntries(
    graph.weights.map(({ name, shape }) => [name, numbers(shape as number[], 0.3)]),
  );

  /** Of what was read before every third token is hidden, and of the second row of a batch nearly all at the end. */
  const feedsOf = (sizes: { B: number; T: number; C: number; P: number }) => {
    const { B, T, C } = sizes;
    const named: Record<string, number> = { ...sizes, GT: 3 * T, S: T };
    const feeds: Record<string, Tensor> = {};
    for (const { name, shape } of graph.inputs) {
      const size = shape.map((d) => (typeof d === 'number' ? d : named[d]!));
      feeds[name] = numbers(size);
      if (name.endsWith('Mask')) {
        feeds[name] = float32(
          size,
          Array.from({ length: sizeOf(size) }, (_, i) => {
            const [row, at] = [Math.floor(i / size.at(-1)!), i % size.at(-1)!];
            return at % 3 === 2 || (row === 1 && at > 2) ? -1e9 : 0;
          }),
        );
      }
    }
    const each = (f: (t: number) => number) => Array.from({ length: B * T }, (_, i) => f(i % T));
    feeds['mask'] = causalMask(T, 3);
    feeds['tokens'] = int64(
      [B, T],
      each((t) => (t * 7) % 19),
    );
    feeds['positions'] = int64(
      [B, T],
      each((t) => C + sizes.P + t),
    );
    feeds['last'] = int64(
      [B, T, 1],
      each((t) => t),
    );
    return feeds;
  };

  test.each([
    { B: 1, T: 1, C: 0, P: 1 },
    { B: 1, T: 1, C: 0, P: 203 },
    { B: 1, T: 7, C: 0, P: 70 },
    { B: 2, T: 1, C: 131, P: 5 },
    { B: 3, T: 2, C: 9, P: 66 },
    { B: 4, T: 35, C: 64, P: 2 },
    { B: 1, T: 250, C: 90, P: 640 },
  ])('is what ONNX Runtime computes at %o', async (sizes) => {
    const runtime = await createSimdRuntime({
      ...{ module: await kernelModuleOf(kind), threads, spawn: spawnKernelThread },
    });
    const session = await runtime.load(graph, (name) => weights[name]!);
    const feeds = feedsOf(sizes);
    const expected = await (await runGraph(ort, graph, weights))(feeds);
    const found = await session.run(feeds);
    for (const [name, { data, shape }] of Object.entries(expected)) {
      expect(found[name]!.shape).toEqual(shape);
      const [own, right] = [found[name]!.data as Float32Array, data as Float32Array];
      const far = own.map((x, i) => Math.abs(x - right[i]!));
      expect(Math.max(...far), name).toBeLessThan(2e-5);
    }
    await session.dispose();
    await runtime.dispose();
  });

  test('gives each token the same bits alone and beside others, and beside room that is hidden', async () => {
    const own = await createSimdRuntime({
      ...{ module: await kernelModuleOf(kind), threads, spawn: spawnKernelThread },
    });
    const [B, H, P, D] = [1, 2, 150, 22];
    const query = numbers([B, H, 5, D]);
    const [keys, values] = [numbers([B, H, P, D]), numbers([B, H, P, D])];
    const bare = new Graph();
    const input = (name: string, ...shape: (number | string)[]) =>
      bare.input(name, 'float32', shape);
    const q = input('q', B, H, 'M', D);
    const segments = ['C', 'P'].map((size) => ({
      keys: input(`keys${size}`, B, H, size, D),
      values: input(`values${size}`, B, H, size, D),
      mask: input(`mask${size}`, 1, 1, 1, size),
    }));
    bare.output('y', attend(q, segments));
    const session = await own.load(bare, () => assert.fail());
    /**
     * The attention of rows `from` to `to` over so many keys in the first segment, and with room for `more` in the second:
     * whatever lies there.
     */
    const run = async (from: number, to: number, first: number, more = 0) => {
      const cut = (x: Tensor<'float32'>, a: number, b: number) =>
        float32(
          [B, H, b - a, D],
          [0, 1].flatMap((h) => {
            const at = h * (x.data.length / H);
            return [...x.data.subarray(at + a * D, at + b * D)];
          }),
        );
      const roomy = (x: Tensor<'float32'>) => {
        const n = x.shape[2]!;
        const data = new Float32Array(H * (n + more) * D).fill(NaN);
        for (let h = 0; h < H; h++) {
          data.set(x.data.subarray(h * n * D, (h + 1) * n * D), h * (n + more) * D);
        }
        return float32([B, H, n + more, D], data);
      };
      const maskP = zeros([1, 1, 1, P - first + more]);
      maskP.data.fill(-1e9, P - first);
      const { y } = await session.run({
        q: cut(query, from, to),
        ...{ keysC: cut(keys, 0, first), valuesC: cut(values, 0, first) },
        ...{ keysP: roomy(cut(keys, first, P)), valuesP: roomy(cut(values, first, P)) },
        ...{ maskC: zeros([1, 1, 1, first]), maskP },
      });
      return y as Tensor<'float32'>;
    };
    const together = await run(0, 5, 0);
    for (const [from, to, first, more] of [
      [0, 1, 0, 0],
      [1, 2, 64, 1],
      [2, 4, 7, 42],
      [1, 4, 149, 0],
      [0, 4, 90, 300],
    ] as const) {
      const part = await run(from, to, first, more);
      const width = (to - from) * D;
      for (const h of [0, 1]) {
        const at = (h * 5 + from) * D;
        expect(part.data.slice(h * width, (h + 1) * width)).toEqual(
          together.data.slice(at, at + width),
        );
      }
    }
    await session.dispose();
    await own.dispose();
  });

  test.each([
    { B: 1, M: 1, n: 200, D: 64 },
    { B: 2, M: 3, n: 37, D: 20 },
    { B: 1, M: 15, n: 70, D: 8 },
    { B: 3, M: 40, n: 9, D: 36 },
  ])('has the same bits in half of the bytes at %o', async ({ B, M, n, D }) => {
    const own = await createSimdRuntime({
      ...{ module: await kernelModuleOf(kind), threads, spawn: spawnKernelThread },
    });
    const bare = new Graph();
    const q = bare.input('q', 'float32', [B, 2, M, D]);
    const segments = ['C', 'P', 'N'].map((name) => ({
      keys: bare.input(`keys${name}`, 'float32', [name === 'C' ? 1 : B, 2, n, D]),
      values: bare.input(`values${name}`, 'float32', [name === 'C' ? 1 : B, 2, n, D]),
      mask: bare.input(`mask${name}`, 'float32', [name === 'N' ? 1 : B, 1, 1, n]),
    }));
    bare.output('y', attend(q, segments));
    const session = await own.load(bare, () => assert.fail());
    const whole: Record<string, Tensor> = {};
    for (const { name, shape } of bare.inputs) {
      const size = shape as number[];
      whole[name] = numbers(size);
      if (/keys|values/.test(name)) whole[name] = fromHalf(toHalf(numbers(size)));
      if (name.startsWith('mask')) {
        whole[name] = zeros(size);
        (whole[name].data as Float32Array).fill(-1e9, (n * 2) / 3, n);
      }
    }
    const halves = { ...whole };
    // What comes beside it in fp32 is rounded too. The past lies where the kernels read it, the rest is copied to them.
    const place = own.memory.allocate([B, 2, n, D]);
    for (const name of ['keysC', 'valuesC', 'keysP', 'valuesP']) {
      halves[name] = toHalf(whole[name] as Tensor<'float32'>);
    }
    place.data.set(halves['valuesP']!.data as Uint16Array);
    halves['valuesP'] = place;
    const expected = (await session.run(whole))['y'];
    expect((await session.run(halves))['y']).toEqual(expected);
    place.data.fill(0);
    expect((await session.run(halves))['y']).not.toEqual(expected);
    own.memory.free(place);
    await session.dispose();
    await own.dispose();
  });

  test('leaves none of the steps that it stands for', async () => {
    const own = await createSimdRuntime({
      ...{ module: await kernelModuleOf(kind), threads, spawn: spawnKernelThread },
    });
    const add = vi.spyOn(Program.prototype, 'add');
    const session = await own.load(graph, (name) => weights[name]!);
    await session.run(feedsOf({ B: 1, T: 2, C: 3, P: 4 }));
    const codes = add.mock.calls.map(([{ code }]) => code);
    add.mockRestore();
    const count = (code: number) => codes.filter((one) => one === code).length;
    expect(count(CODE.attendSoftmax)).toBeGreaterThan(0);
    expect([CODE.timesColumns, CODE.timesRows, CODE.softmax].map(count)).toEqual([0, 0, 0]);
    await session.dispose();
    await own.dispose();
  });

  test('rounds new keys and values as the past is, and gives them out so', async () => {
    const own = await createSimdRuntime({
      ...{ module: await kernelModuleOf(kind), threads, spawn: spawnKernelThread },
    });
    const bare = new Graph();
    const input = (name: string, ...shape: number[]) => bare.input(name, 'float32', shape);
    const n = 300;
    const made = op.mul(input('made', 1, 1, n, 4), 1);
    const past = {
      ...{ keys: input('keys', 1, 1, 1, 4), values: input('values', 1, 1, 1, 4) },
      mask: input('mask', 1, 1, 1, 1),
    };
    const fresh = { keys: made, values: made, mask: input('causal', 1, 1, n, n) };
    bare.output('y', attend(input('q', 1, 1, n, 4), [past, fresh]));
    bare.output('made', made);
    const session = await own.load(bare, () => assert.fail());
    const hard = [0, -0, 1e-9, -6.1e-5, 2 ** -14, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 2 - 2 ** -12];
    const large = [65503, 65519, -65520, 1e9, -Infinity];
    const sizes = Array.from({ length: 4 * n }, (_, i) => random.normal() * 10 ** ((i % 9) - 5));
    const given = float32([1, 1, n, 4], [...hard, ...large, ...sizes].slice(0, 4 * n));
    // Each query sees its own token alone.
    const causal = float32(
      [1, 1, n, n],
      Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 0 : -1e9)),
    );
    const found = await session.run({
      ...{ made: given, q: zeros([1, 1, n, 4]), causal, mask: float32([1, 1, 1, 1], [-1e9]) },
      ...{ keys: toHalf(zeros([1, 1, 1, 4])), values: toHalf(zeros([1, 1, 1, 4])) },
    });
    expect(found['made']).toEqual(toHalf(given));
    expect(found['y']!.data).toEqual(given.data.map((x) => nearestHalf(x) + 0));
    await session.dispose();
    await own.dispose();
  });
});
