// A tiny checkpoint written as GGUF the way llama.cpp's converter does it.
import type { Checkpoint, ModelConfig } from '@rapport/core';
import type { GgufEntry, GgufTensorEntry } from './gguf-builder.ts';

const parts: Readonly<Record<string, string>> = {
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  'transformer.wte': 'token_embd',
  'transformer.wpe': 'position_embd',
  'transformer.ln_f': 'output_norm',
  lm_head: 'output',
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'ffn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
  ln_1: 'attn_norm',
  ln_2: 'ffn_norm',
  'attn.c_attn': 'attn_qkv',
  'attn.c_proj': 'attn_output',
  'mlp.c_fc': 'ffn_up',
  'mlp.c_proj': 'ffn_down',
};

/** The metadata llama.cpp would write for this model, with a vocabulary of letters. */
export function ggufMetadata(config: ModelConfig): Map<string, GgufEntry> {
  const { architecture } = config;
  const key = (name: string) => `${architecture}.${name}`;
  const gpt2 = architecture === 'gpt2';
  const tokens = Array.from({ length: config.vocab }, (_, i) => String.fromCharCode(0x4e00 + i));
  return new Map<string, GgufEntry>([
    ['general.architecture', { text: architecture }],
    [key('block_count'), { u32: config.layers }],
    [key('embedding_length'), { u32: config.hidden }],
    [key('attention.head_count'), { u32: config.heads }],
    [key('attention.head_count_kv'), { u32: config.kvHeads }],
    [key('attention.key_length'), { u32: config.headDim }],
    [key('feed_forward_length'), { u32: config.ffn }],
    [key('context_length'), { u32: config.context }],
    ...(gpt2 ? [] : [[key('rope.freq_base'), { f32: config.ropeTheta }] as const]),
    [
      key(gpt2 ? 'attention.layer_norm_epsilon' : 'attention.layer_norm_rms_epsilon'),
      { f32: config.normEpsilon },
    ],
    ['tokenizer.ggml.model', { text: 'gpt2' }],
    ['tokenizer.ggml.pre', { text: 'gpt-2' }],
    ['tokenizer.ggml.tokens', { texts: tokens }],
    ['tokenizer.ggml.token_type', { i32s: tokens.map((_, i) => (i < 3 ? 3 : 1)) }],
    ['tokenizer.ggml.merges', { texts: [] }],
    ['tokenizer.ggml.eos_token_id', { u32: 2 }],
  ]);
}

/** The tensors under llama.cpp's names; rows of Q and K permuted for the llama architecture. */
export async function ggufTensors(checkpoint: Checkpoint): Promise<GgufTensorEntry[]> {
  const tensors: GgufTensorEntry[] = [];
  for (const { name, shape } of checkpoint.tensors.values()) {
    const values = await checkpoint.read(name);
    const { architecture, headDim } = checkpoint.config;
    const permuted = architecture === 'llama' && /\.[qk]_proj\./.test(name);
    const rows = permuted ? pairsFromHalves(values, shape[0]!, headDim) : values;
    tensors.push({ name: ggufName(name), shape, type: 0, bytes: new Uint8Array(rows.buffer) });
  }
  return tensors;
}

function ggufName(name: string): string {
  const [, layer, part, kind] = /^(?:.*?\.(\d+)\.)?(.+)\.(weight|bias)$/.exec(name)!;
  return `${layer === undefined ? '' : `blk.${layer}.`}${parts[part!]}.${kind}`;
}

function pairsFromHalves(values: Float32Array, rows: number, headDim: number): Float32Array {
  const width = values.length / rows;
  const out = new Float32Array(values.length);
  for (let head = 0; head < rows / headDim; head++) {
    for (const half of [0, 1]) {
      for (let i = 0; i < headDim / 2; i++) {
        const from = head * headDim + (half * headDim) / 2 + i;
        const to = head * headDim + 2 * i + half;
        out.set(values.subarray(from * width, (from + 1) * width), to * width);
      }
    }
  }
  return out;
}
