// What all architectures share as graph words: linears with LoRA, two-segment attention, the head.
// One description serves reading, speaking, scoring and training. It knows no weights and no runtime.
import * as op from '../graph/build.ts';
import { float32 } from '../graph/tensor.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { Graph, Value } from '../graph/graph.ts';
import { blocksIn } from '../weights/int8.ts';
import type { ModelConfig } from '../weights/model-config.ts';
import { dropped, type Dropout } from './dropout.ts';

/** Keys and values of earlier tokens, and which of their P slots each row may see: with a batch of 1 all see the same. */
export interface Past {
  /** [B or 1, kvHeads, P, headDim] of layer i. */
  readonly key: (layer: number) => Value;
  readonly value: (layer: number) => Value;
  /** [B or 1, 1, 1, P]: 0 to see a slot, a large negative number not to. */
  readonly mask: Value;
}

/** Sees the new keys and values [B, kvHeads, T, headDim] of a layer. */
export type Made = (layer: number, key: Value, value: Value) => void;

/** What a graph for training needs to know beside the model. */
export interface TrainingShape {
  /** Of the adapter; a graph with gradients has to know it. */
  readonly rank?: number;
  readonly dropout?: Dropout;
  /** `float32` by default. */
  readonly base?: BaseFormat;
}

/**
 * How the frozen linears are held: as they are, or as integers of 8 bits with `<path>.scale` for each block of a row, made
 * floats again where they are read.
 */
export type BaseFormat = 'float32' | 'int8';

/** The builder of one graph: holds what every layer shares. */
export abstract class ModelGraph {
  readonly graph: Graph;
  readonly config: ModelConfig;
  /** LoRA inputs by their names, in the order they were made. */
  readonly adapterInputs: Value[] = [];
  /** int64 [B, T]: the place of each token in its row. */
  protected readonly positions: Value;
  readonly #adapted: ReadonlySet<string>;
  readonly #rank: number | undefined;
  readonly #dropout: Dropout;
  readonly #base: BaseFormat;
  readonly #mask: Value;

  /**
   * Inputs `positions` [B, T] and `mask` [1, 1, G·T, T] (`causalMask`), for training one of each row: [B, 1, G·T, T].
   *
   * `adapted`: module paths that carry LoRA inputs `lora.<path>.a` [in, R] and `.b` [R, out], each with an R of its own;
   * `rank`: R where it must be known, as in a graph with gradients; `dropout`: for training only.
   */
  constructor(
    graph: Graph,
    config: ModelConfig,
    adapted: ReadonlySet<string>,
    training?: TrainingShape,
  ) {
    const { rank, dropout = {}, base = 'float32' } = training ?? {};
    this.graph = graph;
    this.config = config;
    this.#adapted = adapted;
    this.#rank = rank;
    this.#dropout = dropout;
    this.#base = base;
    this.positions = graph.input('positions', 'int64', ['B', 'T']);
    // Query rows are ordered (group, token): G·T rows share one key/value head.
    this.#mask = graph.input('mask', 'float32', [training ? 'B' : 1, 1, 'GT', 'T']);
  }

  /** int64 [B, T] → [B, T, D]. */
  abstract embed(tokens: Value): Value;

  /** Layers `from` up to, not including, `to` over `x` [B, T, D]. */
  layers(x: Value, from: number, to: number, past?: readonly Past[], made?: Made): Value {
    let hidden = x;
    for (let i = from; i < to; i++) hidden = this.layer(hidden, i, past, made);
    return hidden;
  }

  /** The norm before the head. */
  abstract finalNorm(x: Value): Value;

  /** The output matrix [V, D]. */
  head(): Value {
    const name = this.config.tiedHead ? this.embeddingName : 'lm_head.weight';
    return this.matrix(name, this.config.vocab);
  }

  protected abstract readonly embeddingName: string;
  protected abstract layer(x: Value, i: number, past?: readonly Past[], made?: Made): Value;

  /** A weight [rows, D] of the model. */
  protected matrix(name: string, rows: number): Value {
    return this.graph.weight(name, 'float32', [rows, this.config.hidden]);
  }

  /** x·Wᵀ (+ bias) (+ x·A·B where adapted). Weights are Hugging Face's [out, in], read as they lie. */
  protected linear(x: Value, path: string, outputs: number, bias: boolean): Value {
    const inputs = x.shape.at(-1) as number;
    let y = op.matmulTransposed(x, this.#frozen(path, [outputs, inputs]));
    if (bias) y = op.add(y, this.graph.weight(`${path}.bias`, 'float32', [outputs]));
    if (!this.#adapted.has(path)) return y;
    // An adapter may leave this linear out: then its rank here is 0, and elsewhere it is not.
    const rank = this.#rank ?? `R of ${path}`;
    const a = this.graph.input(`lora.${path}.a`, 'float32', [inputs, rank]);
    const b = this.graph.input(`lora.${path}.b`, 'float32', [rank, outputs]);
    this.adapterInputs.push(a, b);
    const read = this.#drop(x, 'lora', path);
    return op.add(y, op.matmul(op.matmul(read, a), b));
  }

  #frozen(path: string, shape: readonly [number, number]): Value {
    const { graph } = this;
    if (this.#base === 'float32') return graph.weight(`${path}.weight`, 'float32', shape);
    const scale = graph.weight(`${path}.scale`, 'float32', [shape[0], blocksIn(shape[1])]);
    return op.dequantize(graph.weight(`${path}.weight`, 'int8', shape), scale);
  }

  /** The residual stream with what a block adds to it. */
  protected residual(x: Value, added: Value, path: string): Value {
    return op.add(x, this.#drop(added, 'residual', path));
  }

  #drop(x: Value, kind: keyof Dropout, path: string): Value {
    const share = this.#dropout[kind] ?? 0;
    return share > 0 ? dropped(x, share, `${kind}.${path}`) : x;
  }

  /** [B, T, count·headDim] → [B, T, count, headDim]. */
  protected splitHeads(x: Value, count: number): Value {
    return op.reshape(x, ['B', 'T', count, this.config.headDim]);
  }

  /**
   * softmax(QKᵀ/√d + mask)·V, over the new tokens and, before them, the past in segments.
   * `query` [B, heads, T, headDim], `key` and `value` [B, kvHeads, T, headDim] → [B, T, heads·headDim].
   */
  protected attend(
    query: Value,
    key: Value,
    value: Value,
    i: number,
    past?: readonly Past[],
  ): Value {
    const { heads, kvHeads, headDim } = this.config;
    const groups = heads / kvHeads;
    const scaled = op.mul(query, headDim ** -0.5);
    const apart = op.reshape(scaled, ['B', kvHeads, groups, 'T', headDim]);
    const grouped = op.reshape(apart, ['B', kvHeads, 'GT', headDim]);
    const parts = op.reshape(this.#mix(grouped, key, value, i, past), [
      'B',
      kvHeads,
      groups,
      'T',
      headDim,
    ]);
    const joined = op.reshape(parts, ['B', heads, 'T', headDim]);
    return op.reshape(op.transpose(joined, [0, 2, 1, 3]), ['B', 'T', heads * headDim]);
  }

  #mix(query: Value, key: Value, value: Value, i: number, past: readonly Past[] = []): Value {
    const fresh = op.add(op.matmulTransposed(query, key), this.#mask);
    if (past.length === 0) return op.matmul(op.softmax(fresh), value);
    const before = past.map((one) => op.add(op.matmulTransposed(query, one.key(i)), one.mask));
    const scores = [...before, fresh];
    const weights = op.softmax(op.concat(scores, 3));
    const likes = scores.map((like) => ({ value: like, axis: 3 }));
    const parts = op.splitLike(weights, 3, likes);
    const values = [...past.map((one) => one.value(i)), value];
    let mixed = op.matmul(parts[0]!, values[0]!);
    for (let s = 1; s < parts.length; s++) {
      mixed = op.add(mixed, op.matmul(parts[s]!, values[s]!));
    }
    return mixed;
  }
}

/** Causal mask of `width` tokens for `groups` query heads per key head: [1, 1, G·T, T]. */
export function causalMask(width: number, groups: number): Tensor<'float32'> {
  const data = new Float32Array(groups * width * width);
  for (let g = 0; g < groups; g++) {
    for (let t = 0; t < width; t++) {
      data.fill(-1e9, (g * width + t) * width + t + 1, (g * width + t + 1) * width);
    }
  }
  return float32([1, 1, groups * width, width], data);
}
