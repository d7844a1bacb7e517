// A graph with every size known becomes a few programs for the kernels, with steps in JavaScript
// between them where an operator works on ids, masks or shapes. Made once per shape, run many times.
// It knows operators and addresses; the numbers are the kernels' matter.
import { RapportError, assert } from '../../error.ts';
import { axisOf, dims, int, ints, sizeOf } from '../../graph/index.ts';
import type { Dim, Graph, Node, Tensor, Value } from '../../graph/index.ts';
import { Arena } from './arena.ts';
import { findAttention, type Attention, type Segment } from './attention.ts';
import {
  broadcastShape,
  broadcastStrides,
  hostOp,
  isHostOp,
  sliceBounds,
  stridesOf,
} from './host.ts';
import { unpackRow, type Layout } from './pack.ts';
import { CODE, Program, floatWord, type Range } from './program.ts';
import { findRotary, type Rotary } from './rotary.ts';

/** A weight in the shared memory: a matrix for the kernels, or plain numbers. */
export type Weight =
  | {
      readonly kind: 'matrix';
      readonly at: number;
      readonly sizeBytes: number;
      readonly layout: Layout;
    }
  | { readonly kind: 'plain'; readonly at: number; readonly shape: readonly number[] };

/** Host values of one run, and the memory as it is now. */
export interface RunState {
  readonly values: Map<Value, Tensor>;
  f32(at: number, length: number): Float32Array;
  u8(at: number, length: number): Uint8Array;
}

export type Step =
  | { readonly kind: 'program'; readonly words: Uint32Array }
  | { readonly kind: 'host'; readonly run: (state: RunState) => void };

/** Where a tensor lies in the shared memory: of fp32 numbers, or of fp16 where it is `half`. */
interface Placed {
  readonly at: number;
  readonly shape: readonly number[];
  readonly half?: boolean;
  /** Column after column instead of row after row. */
  readonly turned?: boolean;
}

/** A fed tensor of such numbers. */
export type Fed = Required<Placed>;

/** One that a value of the graph has. */
interface Device extends Placed {
  readonly buffer: Buffer | null;
}

/** Attention of some heads and rows, as if there were no others: query, scores and output [B, heads, rows, …]. */
interface AttentionPiece {
  readonly query: Placed;
  readonly scores: Placed;
  readonly out: Placed;
  readonly segments: readonly Segment<Placed>[];
}

export interface Plan {
  readonly steps: readonly Step[];
  /** Bytes of scratch space from the arena's base. */
  readonly scratch: number;
  /** Results: in memory, or values of the run. */
  readonly outputs: ReadonlyMap<string, Device | Value>;
}

export type ActivationBits = 8 | 14 | 16;

/** To how many bits activations are rounded before they meet weights of 4 or 8 bits. */
export interface RoundingBits {
  /** Before most 4-bit weights. */
  readonly usual: ActivationBits;
  /** Where 8 are too few. */
  readonly wide: ActivationBits;
}

/** What a plan is made from. */
export interface PlanRequest {
  readonly graph: Graph;
  readonly threads: number;
  readonly bits: RoundingBits;
  readonly arenaBase: number;
  readonly weights: ReadonlyMap<Value, Weight>;
  /** Where each fed tensor of floats lies when the program runs. */
  readonly fed: ReadonlyMap<Value, Fed>;
  /** Fed tensors of other types; their numbers may differ at every run, their shapes not. */
  readonly hostFed: ReadonlyMap<Value, Tensor>;
  /** Memory for values that keep their place as long as the plan lives. */
  reserve(bytes: number): number;
}

/** Scratch bytes that several views may share; `uses` counts the values that still need them. */
interface Buffer {
  readonly at: number;
  readonly size: number;
  uses: number;
  /** The same numbers rounded for the kernels, made at most once for each number of bits. */
  rounded?: Roundings;
}

/** Where rounded activations and their scales lie. */
interface Rounded {
  readonly q: number;
  readonly scales: number;
  readonly bytes: number;
}

type Roundings = Partial<Record<ActivationBits, Rounded>>;

const UNARY: Partial<Record<Node['op'], number>> = {
  Neg: 0,
  Exp: 1,
  Sigmoid: 2,
  Tanh: 3,
  Sqrt: 4,
  Reciprocal: 5,
  Abs: 6,
};
const BINARY: Partial<Record<Node['op'], number>> = {
  Add: 0,
  Sub: 1,
  Mul: 2,
  Div: 3,
  Min: 4,
  Max: 5,
};
const SWIGLU = 6;
/** How activations of so many bits are made, and what multiplies them with weights of 4 and of 8. */
const PRODUCTS = {
  8: { quantise: CODE.quantise8, 4: CODE.nibbles8, 8: undefined },
  14: { quantise: CODE.quantise14, 4: CODE.nibbles14, 8: CODE.bytes14 },
  16: { quantise: CODE.quantise16, 4: CODE.nibbles16, 8: CODE.bytes16 },
} as const;
/** Bytes of scales of 32 activations. */
const SCALE_BYTES = 8;
/** As in kernels/halves.ts: numbers that are converted in one unit of work. */
const RUN = 256;
/** Rows of queries from which on it pays to convert fp16 keys and values once for all of them. */
const MANY_QUERIES = 16;
/** Scores of attention that are made at once: more take memory and save no time (measured from 0.5 MB to all). */
const SCORE_BYTES = 1 << 21;
/** Exponentials cost as much as many additions. */
const UNARY_COST = 16;

export function makePlan(request: PlanRequest): Plan {
  return new Planner(request).make();
}

class Planner {
  readonly #request: PlanRequest;
  readonly #nodes: readonly Node[];
  readonly #arena: Arena;
  readonly #steps: Step[] = [];
  /** Steps that need only what was fed: they come first, in one go. */
  readonly #early: Step[] = [];
  #program: Program;
  readonly #device = new Map<Value, Device>();
  /** Numbers known now. */
  readonly #known = new Map<Value, Tensor>();
  /** Sizes of values that JavaScript computes at run time. */
  readonly #host = new Map<Value, { shape: readonly number[]; early: boolean }>();
  /** Values that are zero whatever is fed: products over an empty axis (an adapter of rank 0). */
  readonly #zero = new Map<Value, readonly number[]>();
  readonly #lastUse = new Map<Value, number>();
  readonly #consumers = new Map<Value, Node[]>();
  readonly #done = new Set<Node>();
  /** What is found of each, by that node of it which comes first: what the others would do is done there. */
  readonly #attentions = new Map<Node, Attention>();
  readonly #rotaries = new Map<Node, Rotary>();
  /** Keys and values that are rounded to fp16, since others of their attention were fed so; undefined until they are. */
  readonly #halves = new Map<Value, Device | undefined>();

  constructor(request: PlanRequest) {
    this.#request = request;
    this.#arena = new Arena(request.arenaBase);
    this.#program = new Program(request.threads);
    this.#nodes = productsTogether(request.graph.nodes);
    this.#nodes.forEach((node, index) => {
      for (const input of node.inputs) {
        this.#lastUse.set(input, index);
        const list = this.#consumers.get(input);
        if (list) list.push(node);
        else this.#consumers.set(input, [node]);
      }
    });
    const consumers = (value: Value) => this.#consumers.get(value) ?? [];
    const outputs = new Set(request.graph.outputs.values());
    const firstOf = (nodes: readonly Node[]): Node => {
      const own = new Set(nodes);
      return this.#nodes.find((one) => own.has(one))!;
    };
    for (const node of this.#nodes) {
      const rotary = node.op === 'Add' && findRotary(node, consumers);
      if (rotary && !rotary.inside.some((value) => outputs.has(value))) {
        this.#rotaries.set(firstOf(rotary.nodes), rotary);
      }
      if (node.op !== 'Softmax') continue;
      const found = findAttention(node, consumers);
      if (!found) continue;
      this.#attentions.set(firstOf(found.nodes), found);
      const both = found.segments.flatMap(({ keys, values }) => [keys, values]);
      const isHalf = (value: Value) => request.fed.get(value)?.half === true;
      if (!both.some(isHalf)) continue;
      for (const value of both) if (!isHalf(value)) this.#halves.set(value, undefined);
    }
    for (const value of request.graph.outputs.values()) {
      if (!this.#halves.has(value)) this.#lastUse.set(value, Infinity);
    }
  }

  make(): Plan {
    const { graph, fed, hostFed } = this.#request;
    for (const [value, placed] of fed) this.#device.set(value, { ...placed, buffer: null });
    for (const [value, { shape }] of hostFed) this.#host.set(value, { shape, early: true });
    for (const [value, tensor] of graph.constants) this.#known.set(value, tensor);
    this.#nodes.forEach((node, index) => {
      if (!this.#done.has(node)) this.#lower(node);
      this.#release(node, index);
    });
    const outputs = new Map<string, Device | Value>();
    for (const [name, value] of graph.outputs) {
      const isHost = this.#host.has(value);
      outputs.set(name, isHost ? value : (this.#halves.get(value) ?? this.#onDevice(value)));
    }
    this.#flush();
    return { steps: [...this.#early, ...this.#steps], scratch: this.#arena.size, outputs };
  }

  // --- where values are ---------------------------------------------------------------------------

  #shape(value: Value): readonly number[] {
    const found =
      this.#device.get(value)?.shape ??
      this.#known.get(value)?.shape ??
      this.#host.get(value)?.shape ??
      this.#zero.get(value);
    if (found) return found;
    const weight = this.#request.weights.get(value);
    assert(weight, `${value.name} has no place yet`);
    return value.shape as readonly number[];
  }

  #isHost(value: Value): boolean {
    return this.#known.has(value) || this.#host.has(value);
  }

  #fresh(value: Value, shape: readonly number[]): Device {
    const size = sizeOf(shape) * 4;
    const buffer: Buffer = { at: this.#arena.allocate(size), size, uses: 1 };
    const device = { at: buffer.at, shape, buffer };
    this.#device.set(value, device);
    return device;
  }

  #alias(value: Value, of: Device, shape: readonly number[], offset = 0): void {
    if (of.buffer) of.buffer.uses++;
    this.#device.set(value, { at: of.at + offset, shape, buffer: of.buffer });
  }

  /** The value as fp32 in memory; made from host numbers or zeros when it is not there yet. */
  #onDevice(value: Value): Device {
    const there = this.#device.get(value);
    if (there?.half || there?.turned) throw unsupported(`${value.name} as it is kept`);
    if (there) return there;
    const weight = this.#request.weights.get(value);
    if (weight) {
      if (weight.kind === 'matrix') throw unsupported(`another use of the matrix ${value.name}`);
      return { at: weight.at, shape: weight.shape, buffer: null };
    }
    assert(value.dtype === 'float32', `${value.name} is ${value.dtype}`);
    const shape = this.#shape(value);
    const count = sizeOf(shape);
    const device = { at: this.#request.reserve(count * 4), shape, buffer: null };
    const known = this.#zero.has(value) ? new Float32Array(count) : this.#known.get(value)?.data;
    const run = (state: RunState) =>
      state.f32(device.at, count).set((known ?? state.values.get(value)!.data) as Float32Array);
    if (known || this.#host.get(value)!.early) this.#early.push({ kind: 'host', run });
    else this.#between(run);
    this.#device.set(value, device);
    return device;
  }

  /** Makes the value readable in JavaScript at run time. */
  #onHost(value: Value): { early: boolean } {
    if (this.#known.has(value)) return { early: true };
    const host = this.#host.get(value);
    if (host) return host;
    const { at, shape } = this.#onDevice(value);
    this.#between((state) => {
      const data = state.f32(at, sizeOf(shape)).slice();
      state.values.set(value, { dtype: 'float32', shape, data });
    });
    return { early: false };
  }

  #between(run: (state: RunState) => void): void {
    this.#flush();
    this.#steps.push({ kind: 'host', run });
  }

  #flush(): void {
    if (this.#program.isEmpty) return;
    this.#steps.push({ kind: 'program', words: this.#program.finish() });
    this.#program = new Program(this.#request.threads);
  }

  #release(node: Node, index: number): void {
    const gone = new Set(node.inputs.filter((value) => this.#lastUse.get(value) === index));
    for (const output of node.outputs) if (!this.#lastUse.has(output)) gone.add(output);
    for (const value of gone) {
      const buffer = this.#device.get(value)?.buffer;
      if (!buffer || --buffer.uses > 0) continue;
      this.#arena.free(buffer.at, buffer.size);
      for (const { q, bytes } of Object.values(buffer.rounded ?? {})) this.#arena.free(q, bytes);
    }
  }

  // --- operators ----------------------------------------------------------------------------------

  #lower(node: Node): void {
    const { op, inputs } = node;
    const attention = this.#attentions.get(node);
    if (attention && this.#attend(attention)) return;
    const rotary = this.#rotaries.get(node);
    if (rotary && this.#rotate(rotary)) return;
    if (op === 'Shape') return this.#foldShape(node);
    if (op === 'Reshape' || op === 'Unsqueeze' || op === 'Squeeze') return this.#reshape(node);
    if (isProduct(node)) return this.#product(node);
    if (op === 'Gather' && this.#request.weights.get(inputs[0]!)?.kind === 'matrix') {
      return this.#embed(node);
    }
    if (isHostOp(op) && inputs.every((x) => this.#isHost(x))) return this.#onHostOnly(node);
    if (this.#absorbsZero(node)) return;
    if (op === 'GatherND' && this.#pickRows(node)) return;
    if (op === 'Mul' && this.#swiGlu(node)) return;
    if (op in BINARY) return this.#binary(node, BINARY[op]!, inputs[0]!, inputs[1]!);
    if (op in UNARY) return this.#unary(node);
    if (op === 'Softmax') return this.#softmax(node);
    if (op === 'SimplifiedLayerNormalization' || op === 'LayerNormalization') {
      return this.#norm(node);
    }
    if (op === 'Transpose' || op === 'Slice' || op === 'Split' || op === 'Expand') {
      return this.#views(node);
    }
    if (op === 'Concat') return this.#concat(node);
    if (isHostOp(op)) return this.#onHostOnly(node);
    throw unsupported(`the operator ${op}`);
  }

  #foldShape({ inputs, attributes, outputs }: Node): void {
    const shape = this.#shape(inputs[0]!);
    const part = shape.slice(int(attributes, 'start', 0), int(attributes, 'end', shape.length));
    const data = BigInt64Array.from(part, BigInt);
    this.#known.set(outputs[0]!, { dtype: 'int64', shape: [part.length], data });
  }

  /** An operator in JavaScript: now when all is known, else when the plan runs. */
  #onHostOnly(node: Node): void {
    const { inputs, outputs } = node;
    if (inputs.every((x) => this.#known.has(x))) {
      const results = hostOp(
        node,
        inputs.map((x) => this.#known.get(x)!),
      );
      results.forEach((tensor, i) => this.#known.set(outputs[i]!, tensor));
      return;
    }
    // Shapes do not depend on numbers: one evaluation on zeros tells them.
    const early = inputs.map((x) => this.#onHost(x)).every((x) => x.early);
    const blank = inputs.map((x) => this.#known.get(x) ?? blankTensor(x, this.#shape(x)));
    hostOp(node, blank).forEach(({ shape }, i) => this.#host.set(outputs[i]!, { shape, early }));
    const known = inputs.map((x) => this.#known.get(x));
    const run = (state: RunState) => {
      const results = hostOp(
        node,
        inputs.map((x, i) => known[i] ?? state.values.get(x)!),
      );
      results.forEach((tensor, i) => state.values.set(outputs[i]!, tensor));
    };
    if (early) this.#early.push({ kind: 'host', run });
    else this.#between(run);
  }

  #reshape(node: Node): void {
    const [input, output] = [node.inputs[0]!, node.outputs[0]!];
    const from = this.#shape(input);
    const shape = reshaped(node, from);
    const known = this.#known.get(input);
    const host = this.#host.get(input);
    const isDevice = this.#device.has(input);
    if (known) this.#known.set(output, { ...known, shape } as Tensor);
    else if (this.#zero.has(input)) this.#zero.set(output, shape);
    else if (isDevice) this.#alias(output, this.#onDevice(input), shape);
    else if (host) {
      this.#host.set(output, { shape, early: host.early });
      const run = (state: RunState) => {
        state.values.set(output, { ...state.values.get(input)!, shape } as Tensor);
      };
      if (host.early) this.#early.push({ kind: 'host', run });
      else this.#between(run);
    } else this.#alias(output, this.#onDevice(input), shape);
  }

  /** x + 0 is x, x · 0 is 0. */
  #absorbsZero({ op, inputs, outputs }: Node): boolean {
    const index = inputs.findIndex((x) => this.#zero.has(x));
    if (index < 0) return false;
    const other = inputs[1 - index];
    if ((op === 'Add' || (op === 'Sub' && index === 1)) && other) {
      const shape = broadcastShape(this.#shape(inputs[0]!), this.#shape(inputs[1]!));
      if (this.#zero.has(other)) {
        this.#zero.set(outputs[0]!, shape);
        return true;
      }
      if (sizeOf(shape) !== sizeOf(this.#shape(other))) return false;
      this.#alias(outputs[0]!, this.#onDevice(other), shape);
      return true;
    }
    if (op === 'Mul' && other) {
      this.#zero.set(outputs[0]!, broadcastShape(this.#shape(inputs[0]!), this.#shape(other)));
      return true;
    }
    return false;
  }

  #binary({ outputs }: Node, kind: number, left: Value, right: Value): void {
    const [a, b] = [this.#onDevice(left), this.#onDevice(right)];
    const shape = broadcastShape(a.shape, b.shape);
    const out = this.#fresh(outputs[0]!, shape);
    if (kind === BINARY.Mul || kind === SWIGLU) this.#products.add(outputs[0]!);
    if (sizeOf(shape) === 0) return;
    const { sizes, strides } = merged(shape, [
      broadcastStrides(a.shape, shape),
      broadcastStrides(b.shape, shape),
    ]);
    let n = sizes.pop()!;
    const [stepA, stepB] = [strides[0]!.pop()!, strides[1]!.pop()!];
    // One long row is cut so that threads can share it.
    if (sizes.length === 0 && n >= 4096 && n % 1024 === 0) {
      sizes.push(n / 1024);
      strides[0]!.push(stepA * 1024);
      strides[1]!.push(stepB * 1024);
      n = 1024;
    }
    if (sizes.length > 4) throw unsupported(`broadcasting over ${sizes.length + 1} axes`);
    const rows = sizeOf(sizes);
    this.#program.add({
      code: CODE.binary,
      work: rows,
      cost: rows * n * (kind === SWIGLU ? UNARY_COST : 1),
      words: [kind, a.at, b.at, out.at, n, stepA, stepB, ...axes(4, sizes, strides)],
      reads: [range(a), range(b)],
      writes: [range(out)],
    });
  }

  /** gate · sigmoid(gate) · up, written as three nodes, is one kernel. */
  #swiGlu(node: Node): boolean {
    for (const i of [0, 1]) {
      const inner = node.inputs[i]!;
      const pair = this.#silu.get(inner);
      if (!pair) continue;
      this.#binary(node, SWIGLU, pair, node.inputs[1 - i]!);
      return true;
    }
    return this.#deferSilu(node);
  }

  /** Values x · sigmoid(x) that were not computed because one product alone needs them. */
  readonly #silu = new Map<Value, Value>();

  #deferSilu({ inputs, outputs }: Node): boolean {
    const gate = inputs.find((x) => {
      const other = inputs[inputs[0] === x ? 1 : 0]!;
      return other.node?.op === 'Sigmoid' && other.node.inputs[0] === x;
    });
    const consumers = this.#consumers.get(outputs[0]!) ?? [];
    const only = consumers[0];
    if (!gate || consumers.length !== 1 || only?.op !== 'Mul') return false;
    if (this.#lastUse.get(outputs[0]!) === Infinity) return false;
    const device = this.#onDevice(gate);
    this.#silu.set(outputs[0]!, gate);
    // The gate lives as long as the product that was put off.
    this.#alias(outputs[0]!, device, device.shape);
    return true;
  }

  #unary({ op, inputs, outputs }: Node): void {
    const output = outputs[0]!;
    const x = this.#onDevice(inputs[0]!);
    // Sigmoid inside a SwiGLU is part of that kernel.
    if (op === 'Sigmoid' && this.#onlyInSwiGlu(inputs[0]!, output)) {
      this.#alias(output, x, x.shape);
      return;
    }
    const out = this.#fresh(output, x.shape);
    const count = sizeOf(x.shape);
    this.#program.add({
      code: CODE.unary,
      work: count,
      cost: count * UNARY_COST,
      words: [UNARY[op]!, x.at, out.at],
      reads: [range(x)],
      writes: [range(out)],
    });
  }

  #onlyInSwiGlu(gate: Value, sigmoid: Value): boolean {
    const product = this.#onlyConsumer(sigmoid, 'Mul');
    if (!product?.inputs.includes(gate)) return false;
    return this.#onlyConsumer(product.outputs[0]!, 'Mul') !== undefined;
  }

  #onlyConsumer(value: Value, op: Node['op']): Node | undefined {
    const consumers = this.#consumers.get(value) ?? [];
    if (consumers.length !== 1 || this.#lastUse.get(value) === Infinity) return undefined;
    return consumers[0]!.op === op ? consumers[0] : undefined;
  }

  #softmax({ inputs, attributes, outputs }: Node): void {
    const x = this.#onDevice(inputs[0]!);
    const last = x.shape.length - 1;
    if (axisOf(int(attributes, 'axis'), x.shape.length) !== last) {
      throw unsupported('a softmax that is not over the last axis');
    }
    const out = this.#fresh(outputs[0]!, x.shape);
    const n = x.shape.at(-1)!;
    this.#program.add({
      code: CODE.softmax,
      work: sizeOf(x.shape) / n,
      cost: sizeOf(x.shape) * UNARY_COST,
      words: [x.at, out.at, n],
      reads: [range(x)],
      writes: [range(out)],
    });
  }

  #norm({ inputs, attributes, outputs }: Node): void {
    const [x, weight, bias] = inputs.map((value) => this.#onDevice(value));
    const epsilon = floatWord(attributes['epsilon'] as number);
    const out = this.#fresh(outputs[0]!, x!.shape);
    const n = x!.shape.at(-1)!;
    this.#program.add({
      code: bias ? CODE.layerNorm : CODE.rmsNorm,
      work: sizeOf(x!.shape) / n,
      cost: sizeOf(x!.shape) * 4,
      words: bias
        ? [x!.at, weight!.at, bias.at, out.at, n, epsilon]
        : [x!.at, weight!.at, out.at, n, epsilon],
      reads: [range(x!), range(weight!), ...(bias ? [range(bias)] : [])],
      writes: [range(out)],
    });
  }

  // --- movement -----------------------------------------------------------------------------------

  /** Transpose, slice, split, expand: other strides over the same numbers. */
  #views(node: Node): void {
    const x = this.#onDevice(node.inputs[0]!);
    const strides = stridesOf(x.shape);
    const { attributes, outputs } = node;
    if (node.op === 'Transpose') {
      const perm = ints(attributes, 'perm');
      const shape = perm.map((p) => x.shape[p]!);
      this.#view(outputs[0]!, x, shape, perm.map((p) => strides[p]!), 0); // prettier-ignore
    } else if (node.op === 'Expand') {
      const shape = broadcastShape(x.shape, this.#list(node.inputs[1]!));
      this.#view(outputs[0]!, x, shape, broadcastStrides(x.shape, shape), 0);
    } else if (node.op === 'Split') {
      const axis = axisOf(int(attributes, 'axis'), x.shape.length);
      let start = 0;
      this.#list(node.inputs[1]!).forEach((size, i) => {
        this.#view(outputs[i]!, x, x.shape.with(axis, size), strides, start);
        start += size * strides[axis]!;
      });
    } else {
      const shape = [...x.shape];
      let start = 0;
      ints(attributes, 'axes').forEach((axis, i) => {
        const bounds = [ints(attributes, 'starts')[i]!, ints(attributes, 'ends')[i]!] as const;
        const [from, to] = sliceBounds(shape[axis]!, ...bounds);
        start += from * strides[axis]!;
        shape[axis] = to - from;
      });
      this.#view(outputs[0]!, x, shape, strides, start);
    }
  }

  #list(value: Value): number[] {
    const known = this.#known.get(value);
    assert(known, `${value.name} is not known before the run`);
    return Array.from(known.data as BigInt64Array, Number);
  }

  /** Nothing is copied when the numbers already lie in that order. */
  #view(
    output: Value,
    x: Device,
    shape: readonly number[],
    strides: readonly number[],
    start: number,
  ): void {
    const plain = stridesOf(shape);
    if (shape.every((size, i) => size <= 1 || strides[i] === plain[i])) {
      this.#alias(output, x, shape, start * 4);
      return;
    }
    const out = this.#fresh(output, shape);
    this.#copy(x, start, shape, strides, out, 0, plain);
  }

  #concat({ inputs, attributes, outputs }: Node): void {
    const parts = inputs.filter((x) => sizeOf(this.#shape(x)) > 0);
    const axis = axisOf(int(attributes, 'axis'), this.#shape(inputs[0]!).length);
    const total = inputs.reduce((n, x) => n + this.#shape(x)[axis]!, 0);
    const shape = this.#shape(inputs[0]!).with(axis, total);
    if (parts.length === 1) return this.#alias(outputs[0]!, this.#onDevice(parts[0]!), shape);
    const devices = parts.map((x) => this.#onDevice(x));
    const out = this.#fresh(outputs[0]!, shape);
    const strides = stridesOf(shape);
    let start = 0;
    for (const x of devices) {
      this.#copy(x, 0, x.shape, stridesOf(x.shape), out, start, strides);
      start += x.shape[axis]! * strides[axis]!;
    }
  }

  #copy(
    x: Device,
    from: number,
    shape: readonly number[],
    strides: readonly number[],
    out: Device,
    to: number,
    targetStrides: readonly number[],
  ): void {
    if (sizeOf(shape) === 0) return;
    const m = merged(shape, [strides, targetStrides]);
    // The target's last axis must be dense: a scalar axis makes it so.
    if (m.strides[1]!.at(-1) !== 1) {
      m.sizes.push(1);
      m.strides[0]!.push(1);
      m.strides[1]!.push(1);
    }
    const n = m.sizes.pop()!;
    const step = m.strides[0]!.pop()!;
    m.strides[1]!.pop();
    if (m.sizes.length > 5) throw unsupported(`copying over ${m.sizes.length + 1} axes`);
    const rows = sizeOf(m.sizes);
    this.#program.add({
      code: CODE.copy,
      work: rows,
      cost: sizeOf(shape),
      words: [x.at + from * 4, out.at + to * 4, n, step * 4, ...axes(5, m.sizes, m.strides)],
      reads: [range(x)],
      writes: [range(out)],
    });
  }

  /** Rows of a packed matrix as fp32, at ids that JavaScript knows. */
  #embed({ inputs, outputs }: Node): void {
    const weight = this.#request.weights.get(inputs[0]!)!;
    assert(weight.kind === 'matrix', 'an embedding is a matrix');
    const { layout, at, sizeBytes } = weight;
    const ids = inputs[1]!;
    const { early } = this.#onHost(ids);
    const idShape = this.#shape(ids);
    const shape = [...idShape, layout.width];
    const target = this.#request.reserve(sizeOf(shape) * 4);
    const known = this.#known.get(ids);
    const run = (state: RunState) => {
      const bytes = state.u8(at, sizeBytes);
      const list = (known ?? state.values.get(ids)!).data as BigInt64Array;
      for (let i = 0; i < list.length; i++) {
        const row = Number(list[i]!);
        if (row < 0 || row >= layout.rows) throw outside(row, layout.rows);
        unpackRow(layout, bytes, row, state.f32(target + i * layout.width * 4, layout.width));
      }
    };
    if (early) this.#early.push({ kind: 'host', run });
    else this.#between(run);
    this.#device.set(outputs[0]!, { at: target, shape, buffer: null });
  }

  /** Rows of a batch [B, T, …] that the kernels have computed, at places [B, S, 1] that JavaScript knows. */
  #pickRows({ inputs, attributes, outputs }: Node): boolean {
    const [x, places] = [inputs[0]!, inputs[1]!];
    const [from, at] = [this.#shape(x), this.#shape(places)];
    if (int(attributes, 'batch_dims', 0) !== 1 || !this.#isHost(places)) return false;
    if (at.length !== 3 || at[2] !== 1 || at[0] !== from[0]) return false;
    const rows = this.#onDevice(x);
    this.#onHost(places);
    const shape = [from[0]!, at[1]!, ...from.slice(2)];
    const out = this.#fresh(outputs[0]!, shape);
    const known = this.#known.get(places);
    const [T, S, width] = [from[1]!, at[1]!, sizeOf(from.slice(2))];
    this.#between((state) => {
      const list = (known ?? state.values.get(places)!).data as BigInt64Array;
      for (let i = 0; i < list.length; i++) {
        const place = Number(list[i]!);
        const row = place < 0 ? place + T : place;
        assert(row >= 0 && row < T, `there is no row ${place} of ${T}`);
        const picked = state.f32(rows.at + (Math.floor(i / S) * T + row) * width * 4, width);
        state.f32(out.at + i * width * 4, width).set(picked);
      }
    });
    return true;
  }

  // --- products -----------------------------------------------------------------------------------

  #product(node: Node): void {
    const [left, right] = [node.inputs[0]!, node.inputs[1]!];
    const { op, attributes } = node;
    const transposed =
      op === 'FusedMatMul' || (op === 'Gemm' && int(attributes, 'transB', 0) === 1);
    if (op === 'Gemm' && int(attributes, 'transA', 0) === 1) throw unsupported('a transposed A');
    if (attributes['alpha'] !== undefined && attributes['alpha'] !== 1) throw unsupported('alpha');
    const a = this.#shape(left);
    const b = this.#shape(right);
    const weight = this.#request.weights.get(right);
    const N = transposed ? b.at(-2)! : b.at(-1)!;
    const batch = broadcastShape(a.slice(0, -2), b.slice(0, -2));
    const shape = [...batch, a.at(-2)!, N];
    if (a.at(-1) === 0 || this.#zero.has(left) || this.#zero.has(right)) {
      this.#zero.set(node.outputs[0]!, shape);
      return;
    }
    const { target, addend, bias } = this.#epilogue(node, shape);
    if (weight?.kind === 'matrix') {
      this.#linear(weight, left, target, shape, addend, bias);
    } else {
      assert(!bias, 'a bias joins only weights');
      this.#batched(left, right, transposed, target, shape, addend);
    }
  }

  /**
   * The sum that a product goes into can be done while it is stored: when the product is used once, and
   * the other operand is ready and of the same shape, or a bias.
   */
  #epilogue(node: Node, shape: readonly number[]) {
    let target = node.outputs[0]!;
    let addend: Value | undefined;
    let bias: Value | undefined;
    for (;;) {
      const sum = this.#onlyConsumer(target, 'Add');
      if (!sum || sum.inputs[0] === sum.inputs[1]) break;
      const other = sum.inputs[sum.inputs[0] === target ? 1 : 0]!;
      const isWeight = this.#request.weights.get(node.inputs[1]!)?.kind === 'matrix';
      if (!bias && isWeight && this.#isBias(other, shape)) bias = other;
      else if (!addend && this.#device.has(other) && sameSizes(this.#shape(other), shape)) {
        addend = other;
      } else break;
      this.#done.add(sum);
      target = sum.outputs[0]!;
    }
    return { target, addend, bias };
  }

  #isBias(value: Value, shape: readonly number[]): boolean {
    const weight = this.#request.weights.get(value);
    return weight?.kind === 'plain' && sameSizes(weight.shape, [shape.at(-1)!]);
  }

  #linear(
    { layout, at }: Extract<Weight, { kind: 'matrix' }>,
    input: Value,
    target: Value,
    shape: readonly number[],
    addendValue: Value | undefined,
    biasValue: Value | undefined,
  ): void {
    const x = this.#onDevice(input);
    const { rows: N, width: K, bits } = layout;
    const T = sizeOf(shape) / N;
    const activationBits = this.#activationBits(layout, input);
    const rounded =
      bits === 32 ? { q: x.at, scales: 0, bytes: 0 } : this.#round(input, x, T, K, activationBits);
    const addend = addendValue && this.#onDevice(addendValue);
    const bias = biasValue && this.#onDevice(biasValue);
    const out = this.#fresh(target, shape);
    const code = bits === 32 ? CODE.linear32 : PRODUCTS[activationBits][bits];
    assert(code !== undefined, `weights of ${bits} bits meet activations of ${activationBits}`);
    const words = [at, rounded.q, rounded.scales, out.at, addend?.at ?? 0, bias?.at ?? 0, T, K, N];
    const groups = Math.ceil(N / 4);
    this.#program.add({
      code,
      work: groups,
      cost: T * K * N,
      words: bits === 8 ? [...words, layout.size, Number(layout.hasMin)] : words,
      reads: [
        bits === 32 ? range(x) : { at: rounded.q, size: rounded.bytes },
        ...(addend ? [range(addend)] : []),
      ],
      writes: [range(out)],
    });
  }

  /**
   * Where the module has a fast product of bytes, 8 bits for 4-bit weights. What is a product itself keeps more: in the
   * inner layer of a feed-forward block few numbers are far larger than their neighbours. Blocks of 16 have a kernel for 16 alone.
   */
  #activationBits({ bits, size }: Layout, input: Value): ActivationBits {
    const { usual, wide } = this.#request.bits;
    if (size === 16) return 16;
    return bits === 4 && !this.#products.has(input) ? usual : wide;
  }

  /** Values that were made by an elementwise product. */
  readonly #products = new Set<Value>();

  #round(input: Value, x: Device, T: number, K: number, activationBits: ActivationBits): Rounded {
    // Views of one buffer at the same place and size share their rounding.
    const whole = x.buffer && x.buffer.at === x.at && x.buffer.size === T * K * 4;
    const roundings = whole ? (x.buffer!.rounded ??= {}) : this.#roundedFixed(input);
    const known = roundings[activationBits];
    if (known) return known;
    const numberBytes = T * K * (activationBits === 8 ? 1 : 2);
    const bytes = numberBytes + ((T * K) / 32) * SCALE_BYTES;
    const q = whole ? this.#arena.allocate(bytes) : this.#request.reserve(bytes);
    const rounded = { q, scales: q + numberBytes, bytes };
    roundings[activationBits] = rounded;
    this.#program.add({
      code: PRODUCTS[activationBits].quantise,
      work: T,
      cost: T * K * 2,
      words: [x.at, K, rounded.q, rounded.scales],
      reads: [range(x)],
      writes: [{ at: q, size: bytes }],
    });
    return rounded;
  }

  readonly #fixedRoundings = new Map<Value, Roundings>();

  /** Of a value that is no whole buffer. */
  #roundedFixed(value: Value): Roundings {
    const known = this.#fixedRoundings.get(value) ?? {};
    this.#fixedRoundings.set(value, known);
    return known;
  }

  /** Rotary positions in one instruction; false where shapes are others. */
  #rotate({ x: input, cos, sin, output, nodes }: Rotary): boolean {
    const [x, c, s] = [input, cos, sin].map((value) => this.#onDevice(value)) as [
      Device,
      Device,
      Device,
    ];
    const [B, H, T, D] = x.shape as [number, number, number, number];
    const fits = fitsInto(c.shape, [B, 1, T, D], 1) && sameSizes(c.shape, s.shape);
    if (!fits || D % 2 > 0) return false;
    const out = this.#fresh(output, x.shape);
    this.#program.add({
      code: CODE.rotate,
      work: B * H * T,
      cost: sizeOf(x.shape) * 4,
      words: [x.at, c.at, s.at, out.at, H, T, D, c.shape[0] === 1 ? 0 : T * D * 4],
      reads: [range(x), range(c), range(s)],
      writes: [range(out)],
    });
    for (const node of nodes) this.#done.add(node);
    return true;
  }

  /** Attention where its keys and values lie, without the steps in between; false where it has another form. */
  #attend({ query, segments, output, nodes }: Attention): boolean {
    const inputs = [query, ...segments.flatMap((one) => [one.keys, one.values, one.mask])];
    if (!inputs.every((value) => this.#device.has(value))) return false;
    const q = this.#device.get(query)!;
    const [B, H, M, D] = q.shape as [number, number, number, number];
    const parts = segments.map(({ keys, values, mask }) => ({
      keys: this.#device.get(keys)!,
      values: this.#device.get(values)!,
      mask: this.#device.get(mask)!,
    }));
    for (const { keys, values, mask } of parts) {
      const n = keys.shape[2]!;
      const fits =
        sameSizes(keys.shape, values.shape) &&
        fitsInto(keys.shape, [B, H, n, D], 1) &&
        fitsInto(mask.shape, [B, 1, M, n], 3);
      if (!fits) return false;
    }
    const W = parts.reduce((sum, { keys }) => sum + keys.shape[2]!, 0);
    if (sizeOf(q.shape) === 0 || W === 0) return false;
    const half = parts.some(({ keys, values }) => keys.half || values.half);
    if (half && D % 4 > 0) throw unsupported(`fp16 heads of ${D} numbers`);
    const widens = half && M >= MANY_QUERIES;
    const scratch: Range[] = [];
    const room = (bytes: number): number => {
      scratch.push({ at: this.#arena.allocate(bytes), size: bytes });
      return scratch.at(-1)!.at;
    };
    const read = (value: Value): Placed => {
      const there = half ? this.#asHalf(value) : this.#device.get(value)!;
      if (!widens) return there;
      const { shape } = there;
      return this.#convert(CODE.widen, there, { at: room(sizeOf(shape) * 4), shape });
    };
    const seen = segments
      .filter((_, i) => parts[i]!.keys.shape[2]! > 0)
      .map(({ keys, values, mask }) => ({
        keys: read(keys),
        values: read(values),
        mask: this.#device.get(mask)!,
      }));
    const out = this.#fresh(output, q.shape);
    // Many scores are made head by head, and for some of the rows.
    const isWhole = B > 1 || H * M * W * 4 <= SCORE_BYTES;
    const heads = isWhole ? H : 1;
    const rows = isWhole ? M : Math.min(M, Math.max(12, Math.floor(SCORE_BYTES / (W * 12)) * 3));
    const scoresAt = room(B * heads * rows * W * 4);
    for (let head = 0; head < H; head += heads) {
      for (let row = 0; row < M; row += rows) {
        const some = Math.min(rows, M - row);
        const skipped = (head * M + row) * D * 4;
        const shape = [B, heads, some, D];
        const piece = {
          query: { at: q.at + skipped, shape },
          scores: { at: scoresAt, shape: [B, heads, some, W] },
          out: { at: out.at + skipped, shape },
          segments: seen.map(({ keys, values, mask }) => ({
            keys: headsOf(keys, head, heads),
            values: headsOf(values, head, heads),
            mask: rowsOf(mask, row, some),
          })),
        };
        this.#attendPiece(piece, half && !widens);
      }
    }
    for (const { at, size } of scratch) this.#arena.free(at, size);
    for (const node of nodes) this.#done.add(node);
    return true;
  }

  #attendPiece({ query, scores, out, segments }: AttentionPiece, half: boolean): void {
    const [B, H, M, D] = query.shape as [number, number, number, number];
    const W = scores.shape[3]!;
    // As few parts of at least sixteen columns as give all threads the same, at most eight.
    const partsOf = (columns: number) => {
      const most = Math.max(1, Math.min(8, columns >> 4));
      let parts = 1;
      while (parts < most && (B * H * parts) % this.#request.threads > 0) parts++;
      return parts;
    };
    const words = (parts: number) => [
      ...[query.at, scores.at, out.at, B, H, M, D, W, parts, segments.length],
      ...segments.flatMap(({ keys, values, mask }) => {
        const n = keys.shape[2]!;
        const perBatch = (placed: Placed) =>
          placed.shape[0] === 1 ? 0 : sizeOf(placed.shape.slice(1)) * bytesOf(placed);
        const maskRow = mask.shape[2] === 1 ? 0 : n * 4;
        return [keys.at, values.at, mask.at, n, perBatch(keys), perBatch(mask), maskRow];
      }),
    ];
    const cost = sizeOf(scores.shape) * D;
    this.#program.add({
      code: half ? CODE.attendScores16 : CODE.attendScores,
      work: B * H * partsOf(W),
      cost,
      isCoarse: true,
      words: words(partsOf(W)),
      reads: [range(query), ...segments.flatMap(({ keys, mask }) => [range(keys), range(mask)])],
      writes: [range(scores)],
    });
    this.#program.add({
      code: CODE.attendSoftmax,
      work: B * H * M,
      cost: sizeOf(scores.shape) * UNARY_COST,
      words: words(1),
      reads: [range(scores), ...segments.map(({ mask }) => range(mask))],
      writes: [range(scores)],
    });
    this.#program.add({
      code: half ? CODE.attendValues16 : CODE.attendValues,
      work: B * H * partsOf(D),
      cost,
      isCoarse: true,
      words: words(partsOf(D)),
      reads: [
        range(scores),
        ...segments.flatMap(({ values, mask }) => [range(values), range(mask)]),
      ],
      writes: [range(out)],
    });
  }

  /** Keys or values as fp16, rounded at most once; they stay, for they are outputs as a rule. */
  #asHalf(value: Value): Device {
    const there = this.#device.get(value)!;
    const known = there.half ? there : this.#halves.get(value);
    if (known) return known;
    const { shape } = there;
    const at = this.#arena.allocate(sizeOf(shape) * 2);
    const rounded = this.#convert(CODE.narrow, there, { at, shape, half: true, buffer: null });
    this.#halves.set(value, rounded);
    return rounded;
  }

  #convert<T extends Placed>(code: number, from: Placed, to: T): T {
    const count = sizeOf(from.shape);
    this.#program.add({
      code,
      work: Math.ceil(count / RUN),
      cost: count * 4,
      words: [from.at, to.at, count],
      reads: [range(from)],
      writes: [range(to)],
    });
    return to;
  }

  #batched(
    left: Value,
    right: Value,
    transposed: boolean,
    target: Value,
    shape: readonly number[],
    addendValue: Value | undefined,
  ): void {
    const fed = this.#device.get(right);
    let a = this.#onDevice(left);
    let b = fed?.turned ? fed : this.#onDevice(right);
    const addend = addendValue && this.#onDevice(addendValue);
    const out = this.#fresh(target, shape);
    if (sizeOf(shape) === 0) return;
    let batch = shape.slice(0, -2);
    // One matrix on the right for every row on the left: a single taller product.
    if (sizeOf(b.shape.slice(0, -2)) === 1) {
      const rows = sizeOf(a.shape.slice(0, -1));
      a = { ...a, shape: [rows, a.shape.at(-1)!] };
      b = { ...b, shape: b.shape.slice(-2) };
      batch = [];
    }
    const [M, K] = [a.shape.at(-2)!, a.shape.at(-1)!];
    const N = shape.at(-1)!;
    const strides = [a, b].map((x) => {
      const matrix = x.shape.at(-1)! * x.shape.at(-2)!;
      return broadcastStrides(x.shape.slice(0, -2), batch).map((s) => s * matrix);
    });
    const m = merged(batch, strides);
    if (m.sizes.length > 3) throw unsupported(`a product over ${m.sizes.length} batch axes`);
    const matrices = sizeOf(batch);
    const code = transposed || b.turned ? CODE.timesColumns : CODE.timesRows;
    const least = code === CODE.timesColumns ? 4 : 32;
    const parts = matrices >= 4 ? 1 : Math.max(1, Math.min(8, Math.floor(N / least)));
    this.#program.add({
      code,
      work: matrices * parts,
      cost: matrices * M * K * N,
      words: [a.at, b.at, out.at, addend?.at ?? 0, M, K, N, parts, ...axes(3, m.sizes, m.strides)],
      reads: [range(a), range(b), ...(addend ? [range(addend)] : [])],
      writes: [range(out)],
    });
  }
}

// --- order ----------------------------------------------------------------------------------------

const isProduct = ({ op }: Node): boolean =>
  op === 'MatMul' || op === 'FusedMatMul' || op === 'Gemm';

/**
 * The nodes in an order in which products of one value with what no node computes (weights, adapters) follow each other, as
 * those of queries, keys and values do: threads wait for each other after all of them, not after each.
 */
function productsTogether(nodes: readonly Node[]): readonly Node[] {
  const made = new Set(nodes.flatMap(({ outputs }) => outputs));
  const isRightFed = (node: Node) => !node.inputs.slice(1).some((input) => made.has(input));
  const byLeft = new Map<Value, Node[]>();
  for (const node of nodes) {
    if (!isProduct(node) || !isRightFed(node)) continue;
    const left = node.inputs[0]!;
    byLeft.set(left, [...(byLeft.get(left) ?? []), node]);
  }
  return [...new Set(nodes.flatMap((node) => [node, ...(together(node) ?? [])]))];

  function together(node: Node): Node[] | undefined {
    const list = byLeft.get(node.inputs[0]!);
    return list?.includes(node) ? list : undefined;
  }
}

// --- sizes and strides ----------------------------------------------------------------------------

const bytesOf = ({ half }: Placed): number => (half ? 2 : 4);

const range = (placed: Placed): Range => ({
  at: placed.at,
  size: sizeOf(placed.shape) * bytesOf(placed),
});

/** Some heads of keys or values [1, H, n, D]; of a whole batch [B, H, n, D] only all of them. */
const headsOf = (placed: Placed, first: number, count: number): Placed => ({
  ...placed,
  at: placed.at + first * sizeOf(placed.shape.slice(2)) * bytesOf(placed),
  shape: placed.shape.with(1, count),
});

/** Some rows of a mask [1, 1, M, n], or the only one; of a whole batch only all of them. */
const rowsOf = (mask: Placed, first: number, count: number): Placed =>
  mask.shape[2] === 1
    ? mask
    : { ...mask, at: mask.at + first * mask.shape[3]! * 4, shape: mask.shape.with(2, count) };

const sameSizes = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((d, i) => d === b[i]);

/** Whether the shape has these sizes, or 1 instead in the first `loose` axes. */
const fitsInto = (shape: readonly number[], sizes: readonly number[], loose: number): boolean =>
  shape.length === sizes.length &&
  shape.every((size, i) => size === sizes[i] || (i < loose && size === 1));

/** Joins neighbouring axes that every operand walks through evenly, and drops axes of size 1. */
function merged(shape: readonly number[], strides: readonly (readonly number[])[]) {
  const sizes: number[] = [];
  const kept: number[][] = strides.map(() => []);
  shape.forEach((size, i) => {
    if (size === 1) return;
    const joins = sizes.length > 0 && strides.every((s, j) => kept[j]!.at(-1)! === s[i]! * size);
    if (joins) {
      sizes[sizes.length - 1]! *= size;
      strides.forEach((s, j) => (kept[j]![kept[j]!.length - 1] = s[i]!));
    } else {
      sizes.push(size);
      strides.forEach((s, j) => kept[j]!.push(s[i]!));
    }
  });
  if (sizes.length === 0 && shape.length > 0) {
    sizes.push(1);
    kept.forEach((k) => k.push(1));
  } else if (sizes.length === 0) {
    sizes.push(1);
    kept.forEach((k) => k.push(1));
  }
  return { sizes, strides: kept };
}

/** `count` axes as size and byte strides of two operands, the missing ones in front. */
function axes(
  count: number,
  sizes: readonly number[],
  [a, b]: readonly (readonly number[])[],
): number[] {
  const words: number[] = [];
  for (let i = sizes.length; i < count; i++) words.push(1, 0, 0);
  sizes.forEach((size, i) => words.push(size, a![i]! * 4, b![i]! * 4));
  return words;
}

/** The sizes a Reshape, Unsqueeze or Squeeze gives to `from`. */
function reshaped(node: Node, from: readonly number[]): number[] {
  if (node.op === 'Unsqueeze') {
    const shape = [...from];
    for (const axis of [...ints(node.attributes, 'axes')].sort((p, q) => p - q)) {
      shape.splice(axis, 0, 1);
    }
    return shape;
  }
  if (node.op === 'Squeeze') {
    const dropped = ints(node.attributes, 'axes').map((axis) => axisOf(axis, from.length));
    return from.filter((_, i) => !dropped.includes(i));
  }
  const named = node.inputs[0]!.shape;
  const target = dims(node.attributes, 'shape').map((d: Dim, i) =>
    typeof d === 'number' ? d : d === named[i] ? from[i]! : -1,
  );
  const known = target.filter((d) => d >= 0).reduce((a, b) => a * b, 1);
  return target.map((d) => (d === -1 ? sizeOf(from) / known : d));
}

function blankTensor(value: Value, shape: readonly number[]): Tensor {
  const count = sizeOf(shape);
  const data = value.dtype === 'int64' ? new BigInt64Array(count) : new Float32Array(count);
  return { dtype: value.dtype, shape, data } as Tensor;
}

const unsupported = (what: string) =>
  new RapportError(
    'runtime/unsupported',
    `The kernels do not compute ${what}.`,
    'Use another backend for this model.',
  );

const outside = (row: number, rows: number) =>
  new RapportError(
    'runtime/token',
    `Token ${row} is outside the vocabulary of ${rows}.`,
    'Use the tokenizer that belongs to the model.',
  );
