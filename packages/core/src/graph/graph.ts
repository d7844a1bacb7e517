// A computation as data: named inputs, weights and constants, nodes in the order they were made,
// named outputs. It refuses to know what an operator means (ops.ts does) or who runs it (runtime/ does).
import { assert } from '../error.ts';
import { OPS } from './ops.ts';
import type { Attributes, OpName } from './ops.ts';
import type { Shape } from './shape.ts';
import type { DType, Tensor } from './tensor.ts';

/** What an edge of the graph carries. */
export class Value {
  readonly graph: Graph;
  /** Unique in its graph; inputs and weights keep the name they were given. */
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
  /** The node that computes it; null for inputs, weights and constants. */
  readonly node: Node | null;

  constructor(graph: Graph, name: string, dtype: DType, shape: Shape, node: Node | null) {
    this.graph = graph;
    this.name = name;
    this.dtype = dtype;
    this.shape = shape;
    this.node = node;
  }
}

/** One operator applied to values. */
export interface Node {
  readonly op: OpName;
  readonly inputs: readonly Value[];
  readonly attributes: Attributes;
  readonly outputs: readonly Value[];
}

/**
 * A graph under construction, and the finished thing.
 *
 * - `inputs` are fed at every run, `weights` are bound once when the graph is loaded (their names are
 *   Hugging Face tensor names), `constants` travel inside the graph.
 * - `nodes` are in topological order because a node can only use values that exist.
 */
export class Graph {
  readonly inputs: Value[] = [];
  readonly weights: Value[] = [];
  readonly constants = new Map<Value, Tensor>();
  readonly nodes: Node[] = [];
  readonly outputs = new Map<string, Value>();
  #names = new Set<string>();
  #scalars = new Map<string, Value>();

  /** A value fed at every run. */
  input(name: string, dtype: DType, shape: Shape): Value {
    const value = this.#value(name, dtype, shape, null);
    this.inputs.push(value);
    return value;
  }

  /** A value bound once when the graph is loaded; asking again for the same name gives the same value. */
  weight(name: string, dtype: DType, shape: readonly number[]): Value {
    const known = this.weights.find((w) => w.name === name);
    if (known) return known;
    const value = this.#value(name, dtype, shape, null);
    this.weights.push(value);
    return value;
  }

  /** A value known now, kept inside the graph. */
  constant(tensor: Tensor): Value {
    const value = this.#value(`constant_${this.constants.size}`, tensor.dtype, tensor.shape, null);
    this.constants.set(value, tensor);
    return value;
  }

  /** A scalar constant; equal scalars share one value. */
  scalar(number: number, dtype: 'float32' | 'int64' = 'float32'): Value {
    const key = `${dtype}:${number}`;
    let value = this.#scalars.get(key);
    if (!value) {
      const data = dtype === 'float32' ? Float32Array.of(number) : BigInt64Array.of(BigInt(number));
      value = this.constant({ dtype, shape: [], data });
      this.#scalars.set(key, value);
    }
    return value;
  }

  /** Appends one node; shapes and types of its outputs follow from the op table. */
  apply(op: OpName, inputs: readonly Value[], attributes: Attributes = {}): readonly Value[] {
    for (const input of inputs) assert(input.graph === this, `${input.name} is of another graph`);
    const outputs: Value[] = [];
    const node: Node = { op, inputs, attributes, outputs };
    const index = this.nodes.push(node) - 1;
    OPS[op].infer(inputs, attributes).forEach(({ dtype, shape }, i) => {
      outputs.push(this.#value(`${op}_${index}${i ? `_${i}` : ''}`, dtype, shape, node));
    });
    return outputs;
  }

  /** Names a value as a result of the graph. */
  output(name: string, value: Value): void {
    assert(!this.outputs.has(name), `output ${name} is named twice`);
    assert(value.graph === this, `${value.name} is of another graph`);
    this.outputs.set(name, value);
  }

  #value(name: string, dtype: DType, shape: Shape, node: Node | null): Value {
    assert(!this.#names.has(name), `two values named ${name}`);
    this.#names.add(name);
    return new Value(this, name, dtype, shape, node);
  }
}
