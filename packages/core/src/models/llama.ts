// The Llama family (Llama, Qwen2, Qwen3): rotary positions, grouped keys and values, RMS norms, SwiGLU.
import * as op from '../graph/build.ts';
import type { Graph, Value } from '../graph/graph.ts';
import { float32 } from '../graph/tensor.ts';
import type { ModelConfig } from '../weights/model-config.ts';
import { ModelGraph, type Made, type Past, type TrainingShape } from './model-graph.ts';

export class LlamaGraph extends ModelGraph {
  protected readonly embeddingName = 'model.embed_tokens.weight';
  readonly #cos: Value;
  readonly #sin: Value;

  constructor(
    graph: Graph,
    config: ModelConfig,
    adapted: ReadonlySet<string>,
    training?: TrainingShape,
  ) {
    super(graph, config, adapted, training);
    const { headDim, ropeTheta } = config;
    const half = headDim / 2;
    const frequencies = Float32Array.from({ length: half }, (_, i) => ropeTheta ** (-i / half));
    const angles = op.mul(
      op.unsqueeze(op.cast(this.positions, 'float32'), [1, 3]),
      graph.constant(float32([half], frequencies)),
    );
    this.#cos = op.cos(op.concat([angles, angles], 3));
    this.#sin = op.sin(op.concat([angles, angles], 3));
  }

  embed(tokens: Value): Value {
    return op.gather(this.matrix(this.embeddingName, this.config.vocab), tokens);
  }

  finalNorm(x: Value): Value {
    return this.#norm(x, 'model.norm');
  }

  protected layer(x: Value, i: number, past?: readonly Past[], made?: Made): Value {
    const { ffn, hidden, biases } = this.config;
    const layer = `model.layers.${i}`;
    const read = this.#norm(x, `${layer}.input_layernorm`);
    const mixed = this.residual(x, this.#attention(read, i, past, made), `${layer}.self_attn`);
    const fed = this.#norm(mixed, `${layer}.post_attention_layernorm`);
    const gate = this.linear(fed, `${layer}.mlp.gate_proj`, ffn, biases.ffn);
    const up = this.linear(fed, `${layer}.mlp.up_proj`, ffn, biases.ffn);
    const active = op.mul(op.mul(gate, op.sigmoid(gate)), up);
    const down = this.linear(active, `${layer}.mlp.down_proj`, hidden, biases.ffn);
    return this.residual(mixed, down, `${layer}.mlp`);
  }

  #attention(x: Value, i: number, past?: readonly Past[], made?: Made): Value {
    const { heads, kvHeads, headDim, hidden, qkNorm, biases } = this.config;
    const path = `model.layers.${i}.self_attn`;
    const project = (name: string, count: number) =>
      this.splitHeads(this.linear(x, `${path}.${name}`, count * headDim, biases.qkv), count);
    let query = project('q_proj', heads);
    let key = project('k_proj', kvHeads);
    const value = op.transpose(project('v_proj', kvHeads), [0, 2, 1, 3]);
    if (qkNorm) {
      query = this.#norm(query, `${path}.q_norm`);
      key = this.#norm(key, `${path}.k_norm`);
    }
    query = this.#rotate(op.transpose(query, [0, 2, 1, 3]));
    key = this.#rotate(op.transpose(key, [0, 2, 1, 3]));
    made?.(i, key, value);
    const merged = this.attend(query, key, value, i, past);
    return this.linear(merged, `${path}.o_proj`, hidden, biases.out);
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
}
