// Which ONNX Runtime computes on this device, and why. The processor is the default: it computes in
// fp32, exactly; graphics is there for those who choose it.
import { ortRuntime, type OrtModule, type Runtime } from '@rapport/core';
import type { BackendChoice, OpenedModel } from './inference.ts';

export interface Backend {
  name: string;
  runtime: Runtime;
  reason: OpenedModel['reason'];
  threads: number;
}

/** Starts the chosen backend; one that this browser lacks falls back to the processor and says so. */
export async function startBackend(choice: BackendChoice): Promise<Backend> {
  if (choice === 'webgpu' && 'gpu' in navigator) {
    const runtime = ortRuntime(await onGraphics(), { executionProviders: ['webgpu'] });
    return { name: 'WebGPU', runtime, reason: 'chosen', threads: 1 };
  }
  const threads = self.crossOriginIsolated ? threadsFor(navigator.hardwareConcurrency) : 1;
  const runtime = ortRuntime(await onProcessor(threads), { executionProviders: ['wasm'] });
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
