// What computes on this device, and why: our own kernels on the blocks of the file, or ONNX Runtime on the
// processor or on graphics.
import { ortRuntime, type OrtModule, type Runtime, type Weights } from '@rapport/core';
import { losable } from './device-loss.ts';
import { GraphicsMemory, type GraphicsDevice } from './graphics-memory.ts';
import type { Engine, OpenedModel, Verdict } from './inference.ts';
import { askingForMemory } from './out-of-memory.ts';
import { ownKernels } from './own-kernels.ts';
import { fastest } from './probe.ts';
import { firstThatOpens, waysOf, type Wanted, type Way } from './ways.ts';

export interface Backend {
  name: string;
  runtime: Runtime;
  threads: number;
  /** The browser lacks what was asked for. */
  lacking?: boolean;
}

interface BackendRequest extends Omit<Wanted, 'quantised'> {
  checkpoint: Weights;
}

/** On what something was opened, and why there. */
export interface OpenedOn<T> {
  backend: Backend;
  reason: OpenedModel['reason'];
  verdict: Verdict | undefined;
  opened: T;
}

/**
 * Chooses and starts a backend for a checkpoint; where it cannot be opened on it, the next best one. `small` asks for
 * as little memory as can be.
 */
export async function openOnBackend<T>(
  request: BackendRequest,
  open: (runtime: Runtime, small: boolean) => Promise<T>,
): Promise<OpenedOn<T>> {
  const { checkpoint } = request;
  const quantised = [...checkpoint.tensors.values()].some(({ format }) => format.startsWith('Q'));
  const { way, backend, opened } = await firstThatOpens(
    await waysOf({ ...request, quantised }, fastest),
    ({ engine, small }) => startBackend(engine, checkpoint, small ? 1 : threadCount()),
    ({ runtime }, { small = false }) => open(runtime, small),
  );
  return { backend, reason: reasonFor(way, backend), verdict: way.verdict, opened };
}

function reasonFor({ reason }: Way, { lacking }: Backend): OpenedModel['reason'] {
  if (lacking) return 'no-webgpu';
  const usual = reason === 'fastest' || reason === 'not-compared' || reason === 'isolated';
  return usual && !self.crossOriginIsolated ? 'not-isolated' : reason;
}

/** Starts an engine; where this browser lacks it, that of the processor. */
export async function startBackend(
  engine: Engine,
  weights?: Pick<Weights, 'readRaw'>,
  threads = threadCount(),
): Promise<Backend> {
  if (engine === 'simd' && weights) {
    const runtime = await ownKernels(threads, async (name) => weights.readRaw?.(name));
    return { name: 'WASM SIMD', runtime, threads };
  }
  if (engine === 'webgpu' && 'gpu' in navigator) {
    return { name: 'WebGPU', runtime: await webgpu(), threads: 1 };
  }
  const runtime = ortRuntime(await onProcessor(threads), { executionProviders: ['wasm'] });
  return { name: 'WASM fp32', runtime, threads, lacking: engine === 'webgpu' };
}

const threadCount = (): number =>
  self.crossOriginIsolated ? threadsFor(navigator.hardwareConcurrency) : 1;

/** All of a few cores, half of many: the other half is often the same cores counted twice. */
const threadsFor = (cores: number): number =>
  Math.max(1, cores <= 4 ? cores : Math.min(8, Math.floor(cores / 2)));

async function webgpu(): Promise<Runtime> {
  const ort = await onGraphics();
  let loadedOn: LosableDevice | undefined;
  const device = async () => (loadedOn = (await ort.env.webgpu.device) as LosableDevice);
  const memory = new GraphicsMemory(() => loadedOn);
  const runtime = ortRuntime(ort, { executionProviders: ['webgpu'] }, memory);
  return losable(askingForMemory(runtime, device, memory), async () => (await device()).lost);
}

type LosableDevice = GraphicsDevice & { readonly lost: Promise<unknown> };

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
