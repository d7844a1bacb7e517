import { expect, test } from 'vitest';
import * as op from '../graph/build.ts';
import { Graph, zeros } from '../graph/index.ts';
import { ortRuntime, type OrtModule } from './ort.ts';

test('only where few rows are multiplied are weights packed into a copy', async () => {
  const asked: unknown[] = [];
  const ort = {
    InferenceSession: {
      create: async (_model: unknown, { extra }: { extra?: unknown }) => void asked.push(extra),
    },
  } as unknown as OrtModule;
  const runtime = ortRuntime(ort);
  await runtime.load(new Graph(), () => zeros([1]));
  await runtime.load(new Graph(), () => zeros([1]), { manyRows: true });
  expect(asked).toEqual([undefined, { session: { disable_prepacking: '1' } }]);
});

test('WebGPU gets no empty input: it gets zeros, and a mask that hides them', async () => {
  let given: unknown;
  const ort = {
    Tensor: class {
      data: unknown;
      dims: unknown;
      constructor(_type: string, data: unknown, dims: unknown) {
        this.data = data;
        this.dims = dims;
      }
    },
    InferenceSession: {
      create: async () => ({
        run: async (feeds: unknown) => {
          given = feeds;
          return {};
        },
      }),
    },
  } as unknown as OrtModule;
  const graph = new Graph();
  graph.output('y', op.add(graph.input('x', 'float32', ['N']), 1));
  const runtime = ortRuntime(ort, { executionProviders: ['webgpu'] });
  const session = await runtime.load(graph, () => zeros([1]));
  await session.run({
    'lora.a': zeros([2, 0]),
    'shared.k.0': zeros([1, 1, 0, 2]),
    sharedMask: zeros([1, 1, 1, 0]),
    pastMask: zeros([1, 1, 1, 1]),
  });
  expect(given).toEqual({
    'lora.a': { data: new Float32Array(2), dims: [2, 1] },
    'shared.k.0': { data: new Float32Array(2), dims: [1, 1, 1, 2] },
    sharedMask: { data: Float32Array.of(-1e9), dims: [1, 1, 1, 1] },
    pastMask: { data: new Float32Array(1), dims: [1, 1, 1, 1] },
  });
});
