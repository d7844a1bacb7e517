// Our own kernels behind the runtime interface: graphs of core/models on a CPU with WASM SIMD, in
// Node and in browsers. It knows no platform: the module's bytes and a way to start threads come in.
import { RapportError, assert } from '../../error.ts';
import { float32, sizeOf } from '../../graph/index.ts';
import type { Floats, Graph, Tensor, Value } from '../../graph/index.ts';
import type { RunOptions, Runtime, Session, TensorMemory, WeightSource } from '../runtime.ts';
import type { RawTensor } from '../../weights/checkpoint.ts';
import { SharedHeap } from './memory.ts';
import { canPack, pack, packFloats, type Packed } from './pack.ts';
import {
  makePlan,
  type ActivationBits,
  type RoundingBits,
  type Fed,
  type Plan,
  type RunState,
  type Step,
  type Weight,
} from './plan.ts';

/** What a helper thread needs; send it to a worker that calls `serveKernels`. */
export interface KernelThread {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly control: number;
  readonly thread: number;
}

/** A started helper. */
export interface HelperThread {
  stop(): void | Promise<void>;
}

export interface SimdOptions {
  /** The compiled kernels (packages/core/kernels). */
  readonly module: WebAssembly.Module;
  /**
   * Starts a thread that calls `serveKernels` with what it is given; resolves when the thread listens.
   * Without it, and where pages are not isolated, everything runs on the calling thread.
   */
  readonly spawn?: (thread: KernelThread) => Promise<HelperThread>;
  /** Threads in all, the calling one included. */
  readonly threads?: number;
  /** Quantised blocks of a weight as stored, to compute on them; else fp32 is used. */
  readonly readRaw?: (name: string) => Promise<RawTensor | undefined>;
}

interface Kernels {
  readonly activationBits: WebAssembly.Global;
  wideBits(room: number): number;
  start(program: number, control: number): void;
  serve(control: number, thread: number, grown: number): number;
  refresh(control: number): void;
  end(control: number): void;
}

/** As in kernels/index.ts: a control block, then scratch memory of each thread. */
const CONTROL_BYTES = 1024;
const SCRATCH_BYTES = 1024;
const KEPT_PLANS = 8;

/** Runs a helper thread until its runtime is disposed. Blocks: call it in a worker. */
export function serveKernels({ module, memory, control, thread }: KernelThread): void {
  let grown = 0;
  // It returns when the memory has grown: a new instance knows the new size.
  while (grown >= 0) grown = instantiate(module, memory).serve(control, thread, grown);
}

function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): Kernels {
  const words = new Int32Array(memory.buffer);
  const wait = (at: number, value: number) => void Atomics.wait(words, at >> 2, value);
  const { exports } = new WebAssembly.Instance(module, { env: { memory, wait } });
  return exports as unknown as Kernels;
}

/**
 * A runtime on our own kernels. Weight matrices stay in the integers of the file, activations are
 * rounded to 8, 14 or 16 bits per block of 32, everything else is fp32. What is computed for a token is the same
 * to the last bit whatever is computed beside it: rounding would make whole steps of less.
 *
 * @throws RapportError `runtime/memory` when there is no memory to share.
 */
export async function createSimdRuntime(options: SimdOptions): Promise<SimdRuntime> {
  const { module, spawn, readRaw } = options;
  const heap = new SharedHeap();
  const kernels = instantiate(module, heap.memory);
  const threads = spawn ? (options.threads ?? 1) : 1;
  const control = heap.allocate(CONTROL_BYTES + threads * SCRATCH_BYTES);
  heap.u8(control, CONTROL_BYTES).fill(0);
  const helpers: HelperThread[] = [];
  try {
    for (let thread = 1; thread < threads; thread++) {
      helpers.push(await spawn!({ module, memory: heap.memory, control, thread }));
    }
  } catch (error) {
    for (const helper of helpers) await helper.stop();
    throw error;
  }
  let knownBytes = 0;
  const run = (program: number) => {
    const { byteLength } = heap.memory.buffer;
    if (byteLength !== knownBytes) kernels.refresh(control);
    knownBytes = byteLength;
    kernels.start(program, control);
  };
  const bits: RoundingBits = {
    usual: kernels.activationBits.value as ActivationBits,
    wide: kernels.wideBits(control + CONTROL_BYTES) as ActivationBits,
  };
  const end = () => kernels.end(control);
  return new SimdRuntime({ heap, run, end, threads, bits }, helpers, readRaw);
}

/** The memory, the threads that compute in it, and to how many bits they round by themselves. */
interface Machine {
  readonly heap: SharedHeap;
  run(program: number): void;
  end(): void;
  readonly threads: number;
  readonly bits: RoundingBits;
}

/** As close to fp32 as there is. */
const EXACT: RoundingBits = { usual: 16, wide: 16 };

class SimdRuntime implements Runtime {
  readonly backend = 'simd' as const;
  readonly #machine: Machine;
  readonly #heap: SharedHeap;
  readonly #helpers: readonly HelperThread[];
  readonly #readRaw: SimdOptions['readRaw'];

  constructor(machine: Machine, helpers: readonly HelperThread[], readRaw: SimdOptions['readRaw']) {
    this.#machine = machine;
    this.#heap = machine.heap;
    this.#helpers = helpers;
    this.#readRaw = readRaw;
  }

  /** To how many bits activations of most 4-bit matrices are rounded: 8 with relaxed SIMD, else 16. */
  get activationBits(): ActivationBits {
    return this.#machine.bits.usual;
  }

  /** The same of activations for which 8 bits are too few: 14 where the processor multiplies bytes at once, else 16. */
  get wideBits(): ActivationBits {
    return this.#machine.bits.wide;
  }

  /** Bytes of memory in use by weights, caches and scratch space. */
  get sizeBytes(): number {
    return this.#heap.memory.buffer.byteLength;
  }

  /** Of the kernels: keys and values fed from it are read in place. Half of the bytes are half of the time to read them. */
  readonly memory: TensorMemory = {
    dtype: 'float16',
    allocate: (shape) => {
      const count = sizeOf(shape);
      const data = this.#heap.u16(this.#heap.allocate(count * 2), count).fill(0);
      return { dtype: 'float16', shape, data };
    },
    free: ({ data }) => this.#heap.free(data.byteOffset),
  };

  /**
   * Loads a graph.
   *
   * @throws RapportError `runtime/unsupported` at the first run for operators that have no kernel.
   */
  async load(graph: Graph, weights: WeightSource): Promise<SimdSession> {
    const placed = new Map<Value, Weight>();
    for (const weight of graph.weights) {
      placed.set(weight, await this.#place(graph, weight, weights));
    }
    return new SimdSession(graph, placed, this.#machine);
  }

  /** Stops the helper threads. */
  async dispose(): Promise<void> {
    this.#machine.end();
    for (const helper of this.#helpers) await helper.stop();
  }

  async #place(graph: Graph, weight: Value, weights: WeightSource): Promise<Weight> {
    const shape = weight.shape as readonly number[];
    const use = matrixUse(graph, weight);
    if (!use) {
      const { data } = await weights(weight.name);
      const at = this.#heap.allocate(data.byteLength);
      this.#heap.f32(at, data.length).set(data as Float32Array);
      return { kind: 'plain', at, shape };
    }
    const { bytes, ...layout } = await this.#pack(weight, use, weights);
    return { kind: 'matrix', at: bytes.byteOffset, sizeBytes: bytes.byteLength, layout };
  }

  async #pack(weight: Value, use: 'rows' | 'columns', weights: WeightSource): Promise<Packed> {
    const [first, second] = weight.shape as readonly [number, number];
    const [rows, width] = use === 'rows' ? [first, second] : [second, first];
    const raw = await this.#readRaw?.(weight.name);
    // Where it stays: a copy that waits for the garbage collector would be as much memory again.
    const room = (sizeBytes: number) =>
      this.#heap.u8(this.#heap.allocate(sizeBytes), sizeBytes).fill(0);
    if (raw && canPack(raw.format)) {
      const packed = pack(raw.format, raw.bytes, rows, width, room);
      raw.giveUp?.();
      return packed;
    }
    const data = (await weights(weight.name)).data as Float32Array;
    return packFloats(use === 'rows' ? data : transposed(data, first, second), rows, width, room);
  }
}

function transposed(data: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) out[j * rows + i] = data[i * columns + j]!;
  }
  return out;
}

/**
 * How the graph reads a weight: as a matrix whose rows are outputs (A·Wᵀ, embeddings), whose columns
 * are (A·W), or as plain numbers.
 */
function matrixUse(graph: Graph, weight: Value): 'rows' | 'columns' | null {
  if (weight.shape.length !== 2) return null;
  let use: 'rows' | 'columns' | null = null;
  for (const { op, inputs, attributes } of graph.nodes) {
    if (!inputs.includes(weight)) continue;
    const isRight = inputs[1] === weight && inputs[0] !== weight;
    const here =
      (op === 'FusedMatMul' || (op === 'Gemm' && attributes['transB'] === 1)) && isRight
        ? 'rows'
        : op === 'Gather' && inputs[0] === weight && (attributes['axis'] ?? 0) === 0
          ? 'rows'
          : (op === 'MatMul' || op === 'Gemm') && isRight
            ? 'columns'
            : null;
    if (!here || (use && use !== here)) return null;
    use = here;
  }
  return use;
}

interface Ready {
  readonly plan: Plan;
  readonly steps: readonly (Step | { readonly kind: 'ready'; readonly at: number })[];
  readonly slots: ReadonlyMap<Value, number>;
  readonly owned: readonly number[];
}

/** What was fed to an input last. */
interface Seen {
  readonly tensor: Tensor;
  /** Where it is read, where that is not in a slot of the plan. */
  readonly place: number | undefined;
  /** What a plan depends on of it. */
  readonly key: string;
}

interface ReadyRequest {
  /** One for each input of the graph, in its order. */
  readonly seen: readonly Seen[];
  readonly bits: RoundingBits;
}

class SimdSession implements Session {
  readonly #graph: Graph;
  readonly #weights: ReadonlyMap<Value, Weight>;
  readonly #machine: Machine;
  readonly #heap: SharedHeap;
  /** What JavaScript reads: ids, positions, places. */
  readonly #hostInputs: readonly Value[];
  readonly #plans = new Map<string, Ready>();
  /** Adapters are replaced, never changed: each tensor is copied in once. */
  readonly #adapters = new Map<Value, { data: unknown; at: number; sizeBytes: number }>();
  /** One for each input of the graph, in its order; undefined where nothing is known. */
  readonly #seen: (Seen | undefined)[] = [];
  /** The plan of the last run, as long as it is that for what was seen. */
  #last: { readonly bits: RoundingBits; readonly ready: Ready } | undefined;
  #arena = { at: 0, sizeBytes: 0 };
  #disposed = false;

  constructor(graph: Graph, weights: ReadonlyMap<Value, Weight>, machine: Machine) {
    this.#graph = graph;
    this.#weights = weights;
    this.#machine = machine;
    this.#heap = machine.heap;
    this.#hostInputs = graph.inputs.filter(({ dtype }) => dtype !== 'float32');
  }

  /**
   * Runs the graph. Inputs from `SimdRuntime.memory` are read in place; names that begin with `lora.` are copied once per
   * array. Keys and values may be fed as fp16 where the graph says fp32; all others of their attention are rounded to that
   * as well, and where these are outputs they are fp16.
   *
   * @throws RapportError `runtime/unsupported`, `runtime/memory`, `runtime/token`.
   */
  async run(
    feeds: Readonly<Record<string, Tensor>>,
    { exact = false, lend = false }: RunOptions = {},
  ): Promise<Record<string, Tensor>> {
    assert(!this.#disposed, 'a session is not used after dispose');
    const ready = this.#readyFor(feeds, exact ? EXACT : this.#machine.bits);
    for (const [input, at] of ready.slots) {
      const { buffer, byteOffset, byteLength } = feeds[input.name]!.data;
      this.#heap.u8(at, byteLength).set(new Uint8Array(buffer, byteOffset, byteLength));
    }
    const state: RunState = {
      values: new Map(this.#hostInputs.map((input) => [input, feeds[input.name]!])),
      f32: (at, length) => this.#heap.f32(at, length),
      u8: (at, length) => this.#heap.u8(at, length),
    };
    for (const step of ready.steps) {
      if (step.kind === 'ready') this.#machine.run(step.at);
      else if (step.kind === 'host') step.run(state);
    }
    return this.#collect(ready.plan, state, lend);
  }

  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const ready of this.#plans.values()) this.#forget(ready);
    for (const { at } of this.#adapters.values()) this.#heap.free(at);
    for (const { at } of this.#weights.values()) this.#heap.free(at);
    this.#heap.free(this.#arena.at);
  }

  /** The plan for what is fed. Most inputs are fed the same tensor run after run: only others are looked at. */
  #readyFor(feeds: Readonly<Record<string, Tensor>>, bits: RoundingBits): Ready {
    for (const [i, input] of this.#graph.inputs.entries()) {
      const tensor = feeds[input.name];
      if (!tensor) throw missing(input.name);
      const last = this.#seen[i];
      if (last?.tensor === tensor) continue;
      // Where memory ends below, nothing is known of this input.
      this.#seen[i] = undefined;
      const place = input.dtype === 'float32' ? this.#placeOf(input, tensor) : undefined;
      const key = `${tensor.dtype}${tensor.shape.join()}@${place ?? ''};`;
      if (last?.key !== key) this.#last = undefined;
      this.#seen[i] = { tensor, place, key };
    }
    if (this.#last?.bits !== bits) {
      // A plan that cannot be made may have made others void.
      this.#last = undefined;
      const seen = this.#seen as readonly Seen[];
      const key = `${bits.usual},${bits.wide};${seen.map(({ key }) => key).join('')}`;
      this.#last = { bits, ready: this.#ready(key, { seen, bits }) };
    }
    return this.#last.ready;
  }

  /** Where an input already lies, or undefined when every run must copy it to a slot. */
  #placeOf(input: Value, { data, shape }: Tensor): number | undefined {
    if (this.#heap.owns(data)) return data.byteOffset;
    if (!input.name.startsWith('lora.')) return undefined;
    const known = this.#adapters.get(input);
    if (known?.data === data) return known.at;
    const fits = known && known.sizeBytes === data.byteLength;
    if (known && !fits) {
      this.#heap.free(known.at);
      this.#adapters.delete(input);
    }
    const at = fits ? known.at : this.#heap.allocate(data.byteLength);
    const numbers = data as Float32Array;
    const [rows, columns] = shape as [number, number];
    this.#heap
      .f32(at, data.length)
      .set(isTurned(input) ? transposed(numbers, rows, columns) : numbers);
    this.#adapters.set(input, { data, at, sizeBytes: data.byteLength });
    return at;
  }

  #ready(key: string, request: ReadyRequest): Ready {
    const known = this.#plans.get(key);
    if (known) {
      // The most recently used is the last.
      this.#plans.delete(key);
      this.#plans.set(key, known);
      return known;
    }
    let ready = this.#prepare(request);
    if (ready.plan.scratch > this.#arena.sizeBytes) {
      this.#forget(ready);
      this.#growArena(ready.plan.scratch);
      ready = this.#prepare(request);
    }
    this.#plans.set(key, ready);
    const oldest = this.#plans.keys().next().value;
    if (this.#plans.size > KEPT_PLANS && oldest !== undefined) {
      this.#forget(this.#plans.get(oldest)!);
      this.#plans.delete(oldest);
    }
    return ready;
  }

  /** Plans hold addresses, so a new arena makes all of them void. */
  #growArena(sizeBytes: number): void {
    for (const ready of this.#plans.values()) this.#forget(ready);
    this.#plans.clear();
    if (this.#arena.sizeBytes > 0) this.#heap.free(this.#arena.at);
    this.#arena = { at: 0, sizeBytes: 0 };
    this.#arena = { at: this.#heap.allocate(sizeBytes), sizeBytes };
  }

  #prepare(request: ReadyRequest): Ready {
    const owned: number[] = [];
    try {
      return this.#prepareInto(owned, request);
    } catch (error) {
      for (const at of owned) this.#heap.free(at);
      throw error;
    }
  }

  /** `owned` gets what is allocated. */
  #prepareInto(owned: number[], { seen, bits }: ReadyRequest): Ready {
    const reserve = (bytes: number): number => {
      const at = this.#heap.allocate(bytes);
      owned.push(at);
      return at;
    };
    const slots = new Map<Value, number>();
    const fed = new Map<Value, Fed>();
    const hostFed = new Map<Value, Tensor>();
    for (const [i, input] of this.#graph.inputs.entries()) {
      const { tensor, place } = seen[i]!;
      if (input.dtype !== 'float32') {
        hostFed.set(input, tensor);
        continue;
      }
      let at = place;
      if (at === undefined) {
        at = reserve(tensor.data.byteLength);
        slots.set(input, at);
      }
      const half = tensor.dtype === 'float16';
      const turned = this.#adapters.has(input) && isTurned(input);
      fed.set(input, { at, shape: tensor.shape, half, turned });
    }
    const plan = makePlan({
      graph: this.#graph,
      threads: this.#machine.threads,
      bits,
      arenaBase: this.#arena.at,
      weights: this.#weights,
      fed,
      hostFed,
      reserve,
    });
    const steps = plan.steps.map((step) => {
      if (step.kind === 'host') return step;
      const at = reserve(step.words.byteLength);
      this.#heap.u32(at, step.words.length).set(step.words);
      return { kind: 'ready' as const, at };
    });
    return { plan, steps, slots, owned };
  }

  #forget({ owned }: Ready): void {
    for (const at of owned) this.#heap.free(at);
  }

  #collect(plan: Plan, state: RunState, lend: boolean): Record<string, Tensor> {
    const results: Record<string, Tensor> = {};
    for (const [name, place] of plan.outputs) {
      if (!('at' in place)) {
        results[name] = state.values.get(place)!;
        continue;
      }
      // The arena is written again at the next run.
      const { at, shape, half } = place;
      const count = sizeOf(shape);
      const own = <T extends Floats['data']>(data: T) => (lend ? data : data.slice()) as T;
      results[name] = half
        ? { dtype: 'float16', shape, data: own(this.#heap.u16(at, count)) }
        : float32(shape, own(this.#heap.f32(at, count)));
    }
    return results;
  }
}

/** The first matrix of an adapter has many rows and few columns: these are read one after the other. */
const isTurned = ({ name }: Value): boolean => name.startsWith('lora.') && name.endsWith('.a');

export type { SimdRuntime };

const missing = (name: string) =>
  new RapportError(
    'runtime/feed',
    `The graph needs the input ${name}.`,
    'Feed every input that the graph names.',
  );
