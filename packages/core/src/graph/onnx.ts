// Writes a graph as an ONNX model (protobuf wire format, https://onnx.ai/onnx/repo-docs/IR.html).
// It knows the message numbers and nothing of what the graph computes.
import { RapportError, assert } from '../error.ts';
import type { Graph, Node, Value } from './graph.ts';
import { ONNX_TYPE, OPS } from './ops.ts';
import type { Attributes } from './ops.ts';
import { describe } from './shape.ts';
import type { Dim, Shape } from './shape.ts';
import type { Tensor } from './tensor.ts';

const OPSET = 21;
const IR_VERSION = 10;

/** Where a weight's bytes lie: a file beside the model (or mounted under that name), and a range in it. */
export interface ExternalData {
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

/**
 * The graph as the bytes of an ONNX ModelProto.
 *
 * Weights are references to external data given by `external`; constants are embedded.
 */
export function toOnnx(graph: Graph, external: (weight: Value) => ExternalData): Uint8Array {
  const model = new Message();
  model.int(1, IR_VERSION);
  model.text(2, 'rapport');
  model.message(7, graphProto(graph, external));
  model.message(8, new Message().text(1, '').int(2, OPSET));
  model.message(8, new Message().text(1, 'com.microsoft').int(2, 1));
  return model.finish();
}

function graphProto(graph: Graph, external: (weight: Value) => ExternalData): Message {
  const out = new Message();
  const emitter = new NodeEmitter(out);
  const nodes = neededNodes(graph);
  for (const node of nodes) emitter.node(node);
  out.text(2, 'graph');
  for (const weight of graph.weights) out.message(5, externalTensor(weight, external(weight)));
  for (const [value, tensor] of graph.constants) out.message(5, tensorProto(value.name, tensor));
  for (const input of graph.inputs) out.message(11, valueInfo(input.name, input));
  for (const [name, value] of graph.outputs) {
    // A result keeps its public name through one Identity; ONNX Runtime removes it.
    out.message(1, new Message().text(1, value.name).text(2, name).text(4, 'Identity'));
    out.message(12, valueInfo(name, value));
  }
  // ONNX Runtime infers fewer shapes than we know, and plans memory by them: a buffer whose shape it does not know is never
  // used again, and is looked at for every later result (docs/log.md).
  for (const value of nodes.flatMap(({ outputs }) => outputs)) {
    out.message(13, valueInfo(value.name, value));
  }
  return out;
}

/** The nodes that some output needs, in their order. */
function neededNodes({ nodes, outputs }: Graph): readonly Node[] {
  const needed = new Set(outputs.values());
  const kept = nodes.toReversed().filter((node) => {
    if (!node.outputs.some((y) => needed.has(y))) return false;
    for (const x of node.inputs) needed.add(x);
    return true;
  });
  return kept.reverse();
}

/** Writes nodes, turning attributes that ONNX wants as inputs into shared int64 initializers. */
class NodeEmitter {
  readonly #graph: Message;
  readonly #lists = new Map<string, string>();

  constructor(graph: Message) {
    this.#graph = graph;
  }

  node(node: Node): void {
    const spec = OPS[node.op];
    const out = new Message();
    for (const input of node.inputs) out.text(1, input.name);
    for (const name of spec.asInputs) out.text(1, this.#list(listAttribute(node, name)));
    for (const output of node.outputs) out.text(2, output.name);
    out.text(4, node.op);
    for (const [name, value] of Object.entries(node.attributes)) {
      const hidden = spec.asInputs.includes(name) || spec.private.includes(name);
      if (!hidden) out.message(5, attributeProto(name, value, node));
    }
    if (spec.domain) out.text(7, spec.domain);
    this.#graph.message(1, out);
  }

  #list(values: readonly number[]): string {
    const key = values.join(',');
    let name = this.#lists.get(key);
    if (name === undefined) {
      name = `list_${this.#lists.size}`;
      this.#lists.set(key, name);
      const data = BigInt64Array.from(values, BigInt);
      this.#graph.message(5, tensorProto(name, { dtype: 'int64', shape: [values.length], data }));
    }
    return name;
  }
}

function listAttribute(node: Node, name: string): readonly number[] {
  const list = node.attributes[name] as readonly Dim[];
  return node.op === 'Reshape' ? reshapeTarget(node.inputs[0]!.shape, list) : (list as number[]);
}

/** ONNX's Reshape list: numbers as they are, 0 copies the input's size at that place, one -1 is inferred. */
function reshapeTarget(from: Shape, to: readonly Dim[]): readonly number[] {
  const target = to.map((d, i) => (typeof d === 'number' ? d : d === from[i] ? 0 : -1));
  if (target.filter((d) => d === -1).length <= 1) return target;
  throw new RapportError(
    'graph/reshape',
    `Reshape from ${describe(from)} to ${describe(to)} leaves more than one size to infer`,
    'Keep named dimensions at their place, or reshape in two steps.',
  );
}

const FLOAT_ATTRIBUTES = new Set(['alpha', 'beta', 'epsilon']);

function attributeProto(name: string, value: Attributes[string], node: Node): Message {
  const out = new Message().text(1, name);
  if (typeof value === 'string') return out.text(4, value).int(20, 3);
  if (typeof value === 'number') {
    return FLOAT_ATTRIBUTES.has(name)
      ? out.float(2, value).int(20, 1)
      : out.int(3, value).int(20, 2);
  }
  for (const item of value!) {
    assert(typeof item === 'number', `${node.op}.${name} holds a dimension name`);
    out.int(8, item);
  }
  return out.int(20, 7);
}

function tensorProto(name: string, { dtype, shape, data }: Tensor): Message {
  const out = new Message();
  for (const d of shape) out.int(1, d);
  out.int(2, ONNX_TYPE[dtype]).text(8, name);
  return out.bytes(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}

function externalTensor(weight: Value, where: ExternalData): Message {
  const out = new Message();
  for (const d of weight.shape) out.int(1, d as number);
  out.int(2, ONNX_TYPE[weight.dtype]).text(8, weight.name);
  for (const [key, value] of Object.entries(where)) {
    out.message(13, new Message().text(1, key).text(2, String(value)));
  }
  return out.int(14, 1);
}

function valueInfo(name: string, { dtype, shape }: Value): Message {
  const dims = new Message();
  for (const d of shape) {
    dims.message(1, typeof d === 'number' ? new Message().int(1, d) : new Message().text(2, d));
  }
  const type = new Message().int(1, ONNX_TYPE[dtype]).message(2, dims);
  return new Message().text(1, name).message(2, new Message().message(1, type));
}

const UTF_8 = new TextEncoder();

/** A protobuf message being written: fields are appended in any order. */
class Message {
  #parts: Uint8Array[] = [];
  #length = 0;

  int(field: number, value: number): this {
    return this.#push(varint(field << 3)).#push(varint(value));
  }
  float(field: number, value: number): this {
    return this.#push(varint((field << 3) | 5)).#push(
      new Uint8Array(Float32Array.of(value).buffer),
    );
  }
  text(field: number, value: string): this {
    return this.bytes(field, UTF_8.encode(value));
  }
  bytes(field: number, value: Uint8Array): this {
    return this.#push(varint((field << 3) | 2))
      .#push(varint(value.length))
      .#push(value);
  }
  message(field: number, value: Message): this {
    return this.bytes(field, value.finish());
  }
  finish(): Uint8Array {
    const out = new Uint8Array(this.#length);
    let offset = 0;
    for (const part of this.#parts) {
      out.set(part, offset);
      offset += part.length;
    }
    return out;
  }
  #push(part: Uint8Array): this {
    this.#parts.push(part);
    this.#length += part.length;
    return this;
  }
}

function varint(value: number): Uint8Array {
  if (value >= 0 && value < 128) return Uint8Array.of(value);
  let rest = BigInt.asUintN(64, BigInt(value));
  const out: number[] = [];
  while (rest > 127n) {
    out.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  out.push(Number(rest));
  return Uint8Array.from(out);
}
