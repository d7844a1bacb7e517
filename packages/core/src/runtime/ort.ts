// ONNX Runtime behind the runtime interface, for Node and browsers alike: the build that computes is
// passed in. It knows graphs and tensors, not models.
import type * as Ort from 'onnxruntime-common';
import { toOnnx } from '../graph/onnx.ts';
import { giveUp, sizeOf, zeros, type Tensor, type TensorData } from '../graph/tensor.ts';
import type { Runtime, Session, TensorMemory } from './runtime.ts';

/** `onnxruntime-node`, `onnxruntime-web/wasm` or `onnxruntime-web/webgpu`. */
export type OrtModule = Pick<typeof Ort, 'InferenceSession' | 'Tensor'>;

/** Session options, as text: weights are not packed into a copy of their own for each product that they are in. */
export const AS_THEY_ARE = { disable_prepacking: '1' };

/** Memory whose arrays have twins (`GPUBuffer`) on the device that computes. */
export interface TwinMemory extends TensorMemory {
  twinOf(data: TensorData): object | undefined;
}

/**
 * A runtime that hands each weight over as external data of its own, so that none outlives its copy. What is allocated
 * in `memory` is read from its twin.
 */
export function ortRuntime(
  ort: OrtModule,
  options: Ort.InferenceSession.SessionOptions = {},
  memory?: TwinMemory,
): Runtime {
  return {
    ...(memory && { memory }),
    async load(graph, weights, loading) {
      const files = new Map<string, Uint8Array>();
      for (const { name } of graph.weights) files.set(name, copyOf((await weights(name)).data));
      const model = toOnnx(graph, ({ name }) => ({
        location: name,
        offset: 0,
        length: files.get(name)!.byteLength,
      }));
      const session = await ort.InferenceSession.create(model, {
        logSeverityLevel: 3,
        graphOptimizationLevel: 'all',
        externalData: [...files].map(([path, data]) => ({ path, data })),
        ...options,
        ...(loading?.manyRows && { extra: { session: AS_THEY_ARE } }),
      });
      // The session has copies.
      for (const bytes of files.values()) giveUp(bytes);
      return ortSession(ort, session, onGraphics(options) ? onDevice(ort, memory) : undefined);
    },
  };
}

type AsInput = (input: Tensor, name: string) => Ort.Tensor;

const inMemory =
  (ort: OrtModule): AsInput =>
  ({ dtype, data, shape }) =>
    new ort.Tensor(dtype as 'float32', data as Float32Array, shape);

function onDevice(ort: OrtModule, memory: TwinMemory | undefined): AsInput {
  const sent = inMemory(ort);
  return (input, name) => {
    const twin = sizeOf(input.shape) > 0 && memory?.twinOf(input.data);
    if (!twin) return sent(withElements(input, name), name);
    const options = { dataType: 'float32', dims: input.shape } as const;
    return ort.Tensor.fromGpuBuffer(twin as Ort.Tensor.GpuBufferType, options);
  };
}

/** A session that ONNX Runtime has loaded. */
export function ortSession(
  ort: OrtModule,
  session: Ort.InferenceSession,
  asInput = inMemory(ort),
): Session {
  return {
    run: async (feeds) => {
      const inputs = Object.entries(feeds).map(([name, input]) => [name, asInput(input, name)]);
      const outputs = await session.run(
        Object.fromEntries(inputs) as Ort.InferenceSession.FeedsType,
      );
      return Object.fromEntries(
        Object.entries(outputs).map(([name, { type, dims, data }]) => [
          name,
          { dtype: type, shape: dims, data } as Tensor,
        ]),
      );
    },
    dispose: () => session.release(),
  };
}

const onGraphics = ({ executionProviders = [] }: Ort.InferenceSession.SessionOptions): boolean =>
  executionProviders.some((one) => (typeof one === 'string' ? one : one.name) === 'webgpu');

/**
 * WebGPU binds no empty buffer: rank 0 becomes rank 1 of zeros, which adds nothing either, and no past becomes
 * one token that its mask hides.
 */
function withElements(input: Tensor, name: string): Tensor {
  if (!input.shape.includes(0)) return input;
  const filled = zeros(input.shape.map((size) => size || 1));
  if (name.endsWith('Mask')) filled.data.fill(-1e9);
  return filled;
}

const copyOf = ({ buffer, byteOffset, byteLength }: TensorData): Uint8Array<ArrayBuffer> =>
  new Uint8Array(buffer, byteOffset, byteLength).slice();
