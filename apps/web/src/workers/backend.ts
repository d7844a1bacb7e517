// Which ONNX Runtime computes on this device, and why. The processor is the default: it computes in
// fp32, exactly; graphics is there for those who choose it.
import { toOnnx, type Tensor } from '@rapport/core';
import type { Runtime } from '@rapport/rlhf';
import type * as Ort from 'onnxruntime-common';
import type { BackendChoice, OpenedModel } from './inference.ts';

export interface Backend {
  name: string;
  runtime: Runtime;
  reason: OpenedModel['reason'];
  threads: number;
}

type OrtModule = typeof Ort;

/** Starts the chosen backend; one that this browser lacks falls back to the processor and says so. */
export async function startBackend(choice: BackendChoice): Promise<Backend> {
  if (choice === 'webgpu' && 'gpu' in navigator) {
    const runtime = runtimeOf(await onGraphics(), 'webgpu');
    return { name: 'WebGPU', runtime, reason: 'chosen', threads: 1 };
  }
  const threads = self.crossOriginIsolated ? threadsFor(navigator.hardwareConcurrency) : 1;
  const runtime = runtimeOf(await onProcessor(threads), 'wasm');
  return { name: 'WASM fp32', runtime, reason: reasonFor(choice), threads };
}

function reasonFor(choice: BackendChoice): OpenedModel['reason'] {
  if (choice === 'webgpu') return 'no-webgpu';
  if (choice === 'wasm') return 'chosen';
  return self.crossOriginIsolated ? 'isolated' : 'not-isolated';
}

/** All of a few cores, half of many: the other half is often the same cores counted twice. */
const threadsFor = (cores: number): number =>
  Math.max(1, cores <= 4 ? cores : Math.min(8, Math.floor(cores / 2)));

async function onProcessor(threads: number): Promise<OrtModule> {
  const [ort, { default: mjs }, { default: wasm }] = await Promise.all([
    import('onnxruntime-web/wasm'),
    import('onnxruntime-web/ort-wasm-simd-threaded.mjs?url'),
    import('onnxruntime-web/ort-wasm-simd-threaded.wasm?url'),
  ]);
  ort.env.wasm.wasmPaths = { mjs, wasm };
  ort.env.wasm.numThreads = threads;
  return ort;
}

async function onGraphics(): Promise<OrtModule> {
  const [ort, { default: mjs }, { default: wasm }] = await Promise.all([
    import('onnxruntime-web/webgpu'),
    import('onnxruntime-web/ort-wasm-simd-threaded.asyncify.mjs?url'),
    import('onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm?url'),
  ]);
  ort.env.wasm.wasmPaths = { mjs, wasm };
  ort.env.wasm.numThreads = 1;
  return ort;
}

/** Graphs on ONNX Runtime Web; each weight is a file of its own, so that none outlives its copy. */
function runtimeOf(ort: OrtModule, provider: 'wasm' | 'webgpu'): Runtime {
  return {
    async load(graph, weights) {
      const externalData: { path: string; data: Uint8Array }[] = [];
      for (const { name } of graph.weights) {
        const { data } = await weights(name);
        const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
        externalData.push({ path: name, data: bytes });
      }
      const model = toOnnx(graph, ({ name }) => ({
        location: name,
        offset: 0,
        length: externalData.find(({ path }) => path === name)!.data.byteLength,
      }));
      const session = await ort.InferenceSession.create(model, {
        executionProviders: [provider],
        graphOptimizationLevel: 'all',
        externalData,
      });
      return {
        run: async (feeds) => toTensors(await session.run(toOrt(ort, feeds))),
        dispose: () => session.release(),
      };
    },
  };
}

function toOrt(ort: OrtModule, feeds: Record<string, Tensor>): Record<string, Ort.Tensor> {
  const entries = Object.entries(feeds).map(([name, { dtype, data, shape }]) => [
    name,
    new ort.Tensor(dtype as 'float32', data as Float32Array, shape),
  ]);
  return Object.fromEntries(entries) as Record<string, Ort.Tensor>;
}

function toTensors(results: Record<string, Ort.Tensor>): Record<string, Tensor> {
  const entries = Object.entries(results).map(([name, { type, dims, data }]) => [
    name,
    { dtype: type, shape: dims, data },
  ]);
  return Object.fromEntries(entries) as Record<string, Tensor>;
}
