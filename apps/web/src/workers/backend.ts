// What computes on this device, and why: our own kernels on the blocks of the file, or ONNX Runtime on the
// processor or on graphics.
import {
  ortRuntime,
  RapportError,
  type Checkpoint,
  type OrtModule,
  type Runtime,
} from '@rapport/core';
import { losable } from './device-loss.ts';
import type { BackendChoice, Engine, OpenedModel, Verdict } from './inference.ts';
import { askingForMemory, type ErrorScopes } from './out-of-memory.ts';
import { ownKernels } from './own-kernels.ts';
import { fastest } from './probe.ts';

export interface Backend {
  name: string;
  runtime: Runtime;
  reason: OpenedModel['reason'];
  threads: number;
  /** What the device was found to do best; kept, it saves the next trial. */
  verdict?: Verdict | undefined;
}

export interface BackendRequest {
  choice: BackendChoice;
  checkpoint: Checkpoint;
  /** The verdict of an earlier start on this device. */
  verdict?: Verdict | undefined;
  /** The last start ended in the middle of loading. */
  afterCrash?: boolean | undefined;
}

/** Chooses and starts a backend for a checkpoint. */
export async function chooseBackend(request: BackendRequest): Promise<Backend> {
  const { choice, checkpoint, afterCrash } = request;
  const quantised = [...checkpoint.tensors.values()].some(({ format }) => format.startsWith('Q'));
  if (afterCrash && quantised)
    return { ...(await ownBackend(checkpoint, 1)), reason: 'after-crash' };
  if (choice !== 'auto') return startBackend(choice, checkpoint);
  // In fp32 our kernels read as much as ONNX Runtime does: their place is with blocks.
  if (!quantised) return startBackend('auto', checkpoint);
  const verdict = request.verdict ?? (await fastest());
  try {
    const backend = await startBackend(verdict.engine, checkpoint);
    return { ...backend, reason: isolatedOr('fastest'), verdict };
  } catch (error) {
    if (!(error instanceof RapportError) || verdict.engine === 'wasm') throw error;
    return { ...(await startBackend('wasm', checkpoint)), reason: 'fell-back' };
  }
}

/** Starts the chosen backend; one that this browser lacks falls back to the processor and says so. */
export async function startBackend(
  choice: Engine | 'auto',
  weights?: Pick<Checkpoint, 'readRaw'>,
): Promise<Backend> {
  if (choice === 'simd' && weights) return ownBackend(weights, threadCount());
  if (choice === 'webgpu' && 'gpu' in navigator) {
    return { name: 'WebGPU', runtime: await webgpu(), reason: 'chosen', threads: 1 };
  }
  return {
    name: 'WASM fp32',
    runtime: await wasm(),
    reason: reasonFor(choice),
    threads: threadCount(),
  };
}

async function ownBackend(weights: Pick<Checkpoint, 'readRaw'>, threads: number): Promise<Backend> {
  const runtime = await ownKernels(threads, async (name) => weights.readRaw?.(name));
  return { name: 'WASM SIMD', runtime, reason: 'chosen', threads };
}

function reasonFor(choice: BackendChoice): OpenedModel['reason'] {
  if (choice === 'webgpu') return 'no-webgpu';
  return choice === 'auto' ? isolatedOr('isolated') : 'chosen';
}

const isolatedOr = (reason: OpenedModel['reason']) =>
  self.crossOriginIsolated ? reason : 'not-isolated';

const threadCount = (): number =>
  self.crossOriginIsolated ? threadsFor(navigator.hardwareConcurrency) : 1;

/** All of a few cores, half of many: the other half is often the same cores counted twice. */
const threadsFor = (cores: number): number =>
  Math.max(1, cores <= 4 ? cores : Math.min(8, Math.floor(cores / 2)));

const wasm = async (): Promise<Runtime> =>
  ortRuntime(await onProcessor(threadCount()), { executionProviders: ['wasm'] });

async function webgpu(): Promise<Runtime> {
  const ort = await onGraphics();
  const runtime = ortRuntime(ort, { executionProviders: ['webgpu'] });
  const device = async () =>
    (await ort.env.webgpu.device) as ErrorScopes & { lost: Promise<unknown> };
  return losable(askingForMemory(runtime, device), async () => (await device()).lost);
}

/** Whether there is a graphics processor that computes; one in software is none. */
export async function hasGraphics(): Promise<boolean> {
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<GraphicsAdapter | null> } };
  const adapter = await gpu?.requestAdapter().catch(() => null);
  return !!adapter && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
}

interface GraphicsAdapter {
  info?: { isFallbackAdapter?: boolean };
  isFallbackAdapter?: boolean;
}

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

async function onGraphics() {
  const [ort, { default: mjs }, { default: wasm }] = await Promise.all([
    import('onnxruntime-web/webgpu'),
    import('onnxruntime-web/ort-wasm-simd-threaded.asyncify.mjs?url'),
    import('onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm?url'),
  ]);
  ort.env.wasm.wasmPaths = { mjs, wasm };
  ort.env.wasm.numThreads = 1;
  return ort;
}
