// The Llama family (Llama, Qwen2, Qwen3) as graph words for training and batched rollouts: embedding,
// a range of layers with LoRA, final norm. Linears read Hugging Face weights [out, in] as they lie.
import { RapportError, float32, op } from '@rapport/core';
import type { Dim, Graph, ModelConfig, Value } from '@rapport/core';

/** A linear of the model that can carry an adapter. */
export interface LinearSite {
  /** Hugging Face module path, `model.layers.15.self_attn.q_proj`. */
  readonly path: string;
  readonly inputs: number;
  readonly outputs: number;
}

/** The seven linears of each layer from `from` up to, not including, `to`. */
export function linearSites(config: ModelConfig, from: number, to: number): LinearSite[] {
  const { hidden, heads, kvHeads, headDim, ffn } = config;
  const sites: LinearSite[] = [];
  for (let i = from; i < to; i++) {
    const site = (name: string, inputs: number, outputs: number) =>
      sites.push({ path: `model.layers.${i}.${name}`, inputs, outputs });
    site('self_attn.q_proj', hidden, heads * headDim);
    site('self_attn.k_proj', hidden, kvHeads * headDim);
    site('self_attn.v_proj', hidden, kvHeads * headDim);
    site('self_attn.o_proj', heads * headDim, hidden);
    site('mlp.gate_proj', hidden, ffn);
    site('mlp.up_proj', hidden, ffn);
    site('mlp.down_proj', ffn, hidden);
  }
  return sites;
}

/** Keys and values of earlier tokens, and which of their P slots each row may see. */
export interface Past {
  /** [B, kvHeads, P, headDim] of layer i. */
  readonly key: (layer: number) => Value;
  readonly value: (layer: number) => Value;
  /** [B, 1, 1, P]: 0 to see a slot, a large negative number not to. */
  readonly mask: Value;
}

/** The builder of one graph: holds what every layer shares. */
export class LlamaGraph {
  readonly graph: Graph;
  readonly config: ModelConfig;
  /** LoRA inputs by their names, in the order they were made. */
  readonly adapterInputs: Value[] = [];
  readonly #adapted: ReadonlySet<string>;
  readonly #rank: Dim;
  readonly #cos: Value;
  readonly #sin: Value;
  readonly #mask: Value;

  /**
   * `adapted`: module paths that carry LoRA inputs `lora.<path>.a` [in, R] and `.b` [R, out];
   * `rank`: R where it must be known, as in a graph with gradients.
   */
  constructor(graph: Graph, config: ModelConfig, adapted: ReadonlySet<string>, rank: Dim = 'R') {
    if (config.architecture === 'gpt2') {
      throw new RapportError(
        'train/architecture',
        'Training knows the llama, qwen2 and qwen3 architectures, not gpt2.',
        'Train a model of the Llama family.',
      );
    }
    this.graph = graph;
    this.config = config;
    this.#adapted = adapted;
    this.#rank = rank;
    const { headDim, ropeTheta } = config;
    const positions = graph.input('positions', 'int64', ['B', 'T']);
    // Query rows are ordered (group, token): G·T rows share one key/value head.
    this.#mask = graph.input('mask', 'float32', [1, 1, 'GT', 'T']);
    const half = headDim / 2;
    const frequencies = Float32Array.from({ length: half }, (_, i) => ropeTheta ** (-i / half));
    const angles = op.mul(
      op.unsqueeze(op.cast(positions, 'float32'), [1, 3]),
      graph.constant(float32([half], frequencies)),
    );
    this.#cos = op.cos(op.concat([angles, angles], 3));
    this.#sin = op.sin(op.concat([angles, angles], 3));
  }

  embed(tokens: Value): Value {
    return op.gather(this.#weight('model.embed_tokens.weight', 'vocab', 'hidden'), tokens);
  }

  /** Layers `from` up to, not including, `to` over `x` [B, T, D]. `made` sees each layer's new keys and values. */
  layers(
    x: Value,
    from: number,
    to: number,
    past?: Past,
    made?: (layer: number, key: Value, value: Value) => void,
  ): Value {
    let hidden = x;
    for (let i = from; i < to; i++) {
      const layer = `model.layers.${i}`;
      const read = this.#norm(hidden, `${layer}.input_layernorm`);
      hidden = op.add(hidden, this.#attention(read, i, past, made));
      const fed = this.#norm(hidden, `${layer}.post_attention_layernorm`);
      const gate = this.#linear(fed, `${layer}.mlp.gate_proj`, this.config.ffn);
      const up = this.#linear(fed, `${layer}.mlp.up_proj`, this.config.ffn);
      const active = op.mul(op.mul(gate, op.sigmoid(gate)), up);
      hidden = op.add(hidden, this.#linear(active, `${layer}.mlp.down_proj`, this.config.hidden));
    }
    return hidden;
  }

  finalNorm(x: Value): Value {
    return this.#norm(x, 'model.norm');
  }

  /** The output matrix [V, D]. */
  head(): Value {
    const name = this.config.tiedHead ? 'model.embed_tokens.weight' : 'lm_head.weight';
    return this.#weight(name, 'vocab', 'hidden');
  }

  #attention(
    x: Value,
    i: number,
    past: Past | undefined,
    made: ((layer: number, key: Value, value: Value) => void) | undefined,
  ): Value {
    const { heads, kvHeads, headDim, hidden, qkNorm } = this.config;
    const path = `model.layers.${i}.self_attn`;
    const groups = heads / kvHeads;
    const split = (v: Value, count: number) => op.reshape(v, ['B', 'T', count, headDim]);
    let query = split(this.#linear(x, `${path}.q_proj`, heads * headDim), heads);
    let key = split(this.#linear(x, `${path}.k_proj`, kvHeads * headDim), kvHeads);
    const value = op.transpose(
      split(this.#linear(x, `${path}.v_proj`, kvHeads * headDim), kvHeads),
      [0, 2, 1, 3],
    );
    if (qkNorm) {
      query = this.#norm(query, `${path}.q_norm`);
      key = this.#norm(key, `${path}.k_norm`);
    }
    query = op.mul(this.#rotate(op.transpose(query, [0, 2, 1, 3])), headDim ** -0.5);
    key = this.#rotate(op.transpose(key, [0, 2, 1, 3]));
    made?.(i, key, value);
    const grouped = op.reshape(op.reshape(query, ['B', kvHeads, groups, 'T', headDim]), [
      'B',
      kvHeads,
      'GT',
      headDim,
    ]);
    const mixed = this.#attend(grouped, key, value, i, past);
    const parts = op.reshape(mixed, ['B', kvHeads, groups, 'T', headDim]);
    const joined = op.reshape(parts, ['B', heads, 'T', headDim]);
    const merged = op.reshape(op.transpose(joined, [0, 2, 1, 3]), ['B', 'T', heads * headDim]);
    return this.#linear(merged, `${path}.o_proj`, hidden);
  }

  /** softmax(QKᵀ + mask)·V, over the new tokens and, where given, the past as a second segment. */
  #attend(query: Value, key: Value, value: Value, i: number, past: Past | undefined): Value {
    const scores = op.add(op.matmulTransposed(query, key), this.#mask);
    if (!past) return op.matmul(op.softmax(scores), value);
    const before = op.add(op.matmulTransposed(query, past.key(i)), past.mask);
    const weights = op.softmax(op.concat([before, scores], 3));
    const [old, fresh] = op.splitLike(weights, 3, [
      { value: before, axis: 3 },
      { value: scores, axis: 3 },
    ]) as [Value, Value];
    return op.add(op.matmul(old, past.value(i)), op.matmul(fresh, value));
  }

  /** Rotary positions, halves as Hugging Face pairs them. */
  #rotate(x: Value): Value {
    const half = this.config.headDim / 2;
    const [low, high] = op.split(x, 3, [half, half]) as [Value, Value];
    const turned = op.concat([op.neg(high), low], 3);
    return op.add(op.mul(x, this.#cos), op.mul(turned, this.#sin));
  }

  #norm(x: Value, path: string): Value {
    const weight = this.graph.weight(`${path}.weight`, 'float32', [x.shape.at(-1) as number]);
    return op.rmsNorm(x, weight, this.config.normEpsilon);
  }

  #linear(x: Value, path: string, outputs: number): Value {
    const inputs = x.shape.at(-1) as number;
    const weight = this.graph.weight(`${path}.weight`, 'float32', [outputs, inputs]);
    let y = op.matmulTransposed(x, weight);
    if (this.#hasBias(path)) {
      y = op.add(y, this.graph.weight(`${path}.bias`, 'float32', [outputs]));
    }
    if (!this.#adapted.has(path)) return y;
    const a = this.graph.input(`lora.${path}.a`, 'float32', [inputs, this.#rank]);
    const b = this.graph.input(`lora.${path}.b`, 'float32', [this.#rank, outputs]);
    this.adapterInputs.push(a, b);
    return op.add(y, op.matmul(op.matmul(x, a), b));
  }

  #hasBias(path: string): boolean {
    const { biases } = this.config;
    if (/\.[qkv]_proj$/.test(path)) return biases.qkv;
    return path.endsWith('o_proj') ? biases.out : biases.ffn;
  }

  #weight(name: string, rows: 'vocab', columns: 'hidden'): Value {
    return this.graph.weight(name, 'float32', [this.config[rows], this.config[columns]]);
  }
}
