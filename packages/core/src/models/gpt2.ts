// GPT-2: learned positions, one projection for queries, keys and values, layer norms, GELU.
import * as op from '../graph/build.ts';
import type { Value } from '../graph/graph.ts';
import { ModelGraph, type Made, type Past } from './model-graph.ts';

export class Gpt2Graph extends ModelGraph {
  protected readonly embeddingName = 'transformer.wte.weight';

  embed(tokens: Value): Value {
    const { vocab, context } = this.config;
    const meaning = op.gather(this.matrix(this.embeddingName, vocab), tokens);
    return op.add(
      meaning,
      op.gather(this.matrix('transformer.wpe.weight', context), this.positions),
    );
  }

  finalNorm(x: Value): Value {
    return this.#norm(x, 'transformer.ln_f');
  }

  protected layer(x: Value, i: number, past?: readonly Past[], made?: Made): Value {
    const { hidden, ffn } = this.config;
    const layer = `transformer.h.${i}`;
    const attended = this.#attention(this.#norm(x, `${layer}.ln_1`), i, past, made);
    const mixed = this.residual(x, attended, `${layer}.attn`);
    const fed = this.linear(this.#norm(mixed, `${layer}.ln_2`), `${layer}.mlp.c_fc`, ffn, true);
    const down = this.linear(gelu(fed), `${layer}.mlp.c_proj`, hidden, true);
    return this.residual(mixed, down, `${layer}.mlp`);
  }

  #attention(x: Value, i: number, past?: readonly Past[], made?: Made): Value {
    const { hidden, heads } = this.config;
    const path = `transformer.h.${i}.attn`;
    const joint = this.linear(x, `${path}.c_attn`, 3 * hidden, true);
    const [query, key, value] = op
      .split(joint, 2, [hidden, hidden, hidden])
      .map((part) => op.transpose(this.splitHeads(part, heads), [0, 2, 1, 3])) as [
      Value,
      Value,
      Value,
    ];
    made?.(i, key, value);
    const merged = this.attend(query, key, value, i, past);
    return this.linear(merged, `${path}.c_proj`, hidden, true);
  }

  #norm(x: Value, path: string): Value {
    const size = [this.config.hidden];
    const weight = this.graph.weight(`${path}.weight`, 'float32', size);
    const bias = this.graph.weight(`${path}.bias`, 'float32', size);
    return op.layerNorm(x, weight, bias, this.config.normEpsilon);
  }
}

/** ½x·(1 + tanh(√(2/π)·(x + 0.044715x³))), as GPT-2 was trained (arXiv 1606.08415, section 2). */
function gelu(x: Value): Value {
  const cubic = op.mul(op.mul(op.mul(x, x), x), 0.044715);
  const inner = op.mul(op.add(x, cubic), Math.sqrt(2 / Math.PI));
  return op.mul(op.mul(x, 0.5), op.add(op.tanh(inner), 1));
}
