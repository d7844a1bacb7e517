// Which linears of a model can carry an adapter, and how large they are.
import type { ModelConfig } from '../weights/model-config.ts';

/** A linear of the model that can carry an adapter. */
export interface LinearSite {
  /** Hugging Face module path, `model.layers.15.self_attn.q_proj`. */
  readonly path: string;
  readonly inputs: number;
  readonly outputs: number;
}

/** The linears of each layer from `from` up to, not including, `to`, in model order. */
export function linearSites(config: ModelConfig, from: number, to: number): LinearSite[] {
  const linears = config.architecture === 'gpt2' ? gpt2Linears(config) : llamaLinears(config);
  const prefix = config.architecture === 'gpt2' ? 'transformer.h' : 'model.layers';
  return Array.from({ length: Math.max(0, to - from) }, (_, i) =>
    linears.map(([name, inputs, outputs]) => ({
      path: `${prefix}.${from + i}.${name}`,
      inputs,
      outputs,
    })),
  ).flat();
}

type Linear = readonly [name: string, inputs: number, outputs: number];

function llamaLinears({ hidden, heads, kvHeads, headDim, ffn }: ModelConfig): Linear[] {
  return [
    ['self_attn.q_proj', hidden, heads * headDim],
    ['self_attn.k_proj', hidden, kvHeads * headDim],
    ['self_attn.v_proj', hidden, kvHeads * headDim],
    ['self_attn.o_proj', heads * headDim, hidden],
    ['mlp.gate_proj', hidden, ffn],
    ['mlp.up_proj', hidden, ffn],
    ['mlp.down_proj', ffn, hidden],
  ];
}

function gpt2Linears({ hidden, ffn }: ModelConfig): Linear[] {
  return [
    ['attn.c_attn', hidden, 3 * hidden],
    ['attn.c_proj', hidden, hidden],
    ['mlp.c_fc', hidden, ffn],
    ['mlp.c_proj', ffn, hidden],
  ];
}
