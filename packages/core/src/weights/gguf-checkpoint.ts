// A GGUF file as a Checkpoint: its keys become a ModelConfig, its names and row order Hugging
// Face's. Names as in llama.cpp's gguf-py/gguf/constants.py and tensor_mapping.py.
import { giveUp } from '../graph/tensor.ts';
import { tokenizerFromGguf } from '../tokenizer/from-gguf.ts';
import { readExactly, type ByteSource } from './byte-source.ts';
import { noTensor, type Checkpoint, type RawTensor, type TensorInfo } from './checkpoint.ts';
import { dequantise, FORMATS } from './formats.ts';
import { GgufMetadata } from './gguf-metadata.ts';
import { readGguf, type Gguf, type GgufTensor } from './gguf.ts';
import {
  checkConfig,
  checkTensors,
  checkVocabulary,
  unknownTensor,
  unsupported,
  type Architecture,
  type ModelConfig,
} from './model-config.ts';

/**
 * Opens a GGUF file of the llama, qwen2, qwen3 or gpt2 architecture. Only the header is read now;
 * each tensor is read when asked for.
 *
 * @param options.digest sha256 of the file, when the caller knows it.
 * @throws RapportError `weights/…` for anything damaged, unknown or inconsistent (see `readGguf`,
 * `checkTensors`), `weights/unsupported` for models this project does not compute.
 */
export async function openGguf(
  source: ByteSource,
  options: { digest?: string } = {},
): Promise<Checkpoint> {
  const file = await readGguf(source);
  const metadata = new GgufMetadata(file.metadata);
  const config = checkConfig(configOf(metadata, file));
  const placed = byHuggingFaceName(file, config);
  checkTensors(config, placed);
  checkRowOrder(config, placed);
  checkVocabulary(metadata.texts('tokenizer.ggml.tokens').length, config);

  const load = async (name: string): Promise<RawTensor> => {
    const tensor = placed.get(name);
    if (!tensor) throw noTensor(name);
    const { shape, format } = tensor;
    const stored = await readExactly(source, tensor.offset, tensor.sizeBytes, `tensor ${name}`);
    const headDim = permutedHeadDim(name, config);
    if (!headDim) return { shape, format, bytes: stored, giveUp: () => source.giveUp?.(stored) };
    const bytes = halvesFromPairs(stored, shape[0]!, headDim);
    source.giveUp?.(stored);
    return { shape, format, bytes, giveUp: () => giveUp(bytes) };
  };

  return {
    config,
    tokenizer: tokenizerFromGguf(metadata),
    ...options,
    tensors: placed as ReadonlyMap<string, TensorInfo>,
    async read(name) {
      const { bytes, shape, giveUp: done } = await load(name);
      const numbers = dequantise(
        placed.get(name)!.format,
        bytes,
        shape.reduce((n, d) => n * d, 1),
      );
      done?.();
      return numbers;
    },
    async readRaw(name) {
      const raw = await load(name);
      return FORMATS[placed.get(name)!.format].quantised ? raw : undefined;
    },
  };
}

// --- configuration ----------------------------------------------------------------------------

function configOf(metadata: GgufMetadata, file: Gguf): ModelConfig {
  const architecture = architectureOf(metadata);
  const key = (name: string) => `${architecture}.${name}`;
  refuseExtensions(metadata, key);
  const hidden = metadata.number(key('embedding_length'));
  const heads = metadata.number(key('attention.head_count'));
  const has = (name: string) => file.tensors.has(name);
  const gpt2 = architecture === 'gpt2';
  const norm = gpt2 ? 'attention.layer_norm_epsilon' : 'attention.layer_norm_rms_epsilon';
  return {
    architecture,
    layers: metadata.number(key('block_count')),
    hidden,
    heads,
    kvHeads: metadata.number(key('attention.head_count_kv'), heads),
    headDim: metadata.number(key('attention.key_length'), hidden / heads),
    ffn: metadata.number(key('feed_forward_length')),
    vocab: file.tensors.get('token_embd.weight')?.shape[0] ?? 0,
    context: metadata.number(key('context_length')),
    ropeTheta: gpt2 ? 0 : metadata.number(key('rope.freq_base'), 10_000),
    normEpsilon: decimal(metadata.number(key(norm))),
    tiedHead: !has('output.weight'),
    biases: {
      qkv: has('blk.0.attn_q.bias') || has('blk.0.attn_qkv.bias'),
      out: has('blk.0.attn_output.bias'),
      ffn: has('blk.0.ffn_up.bias'),
    },
    qkNorm: has('blk.0.attn_q_norm.weight'),
  };
}

function architectureOf(metadata: GgufMetadata): Architecture {
  const name = metadata.text('general.architecture');
  if (name === 'llama' || name === 'qwen2' || name === 'qwen3' || name === 'gpt2') return name;
  throw unsupported(`the architecture ${JSON.stringify(name)}`);
}

function refuseExtensions(metadata: GgufMetadata, key: (name: string) => string): void {
  const scaling = metadata.text(key('rope.scaling.type'), 'none');
  if (scaling !== 'none') throw unsupported(`rotary scaling of type ${JSON.stringify(scaling)}`);
  if (metadata.number(key('rope.scale_linear'), 1) !== 1)
    throw unsupported('linear rotary scaling');
  if (metadata.number(key('expert_count'), 0) !== 0) throw unsupported('a mixture of experts');
  if (metadata.number(key('attention.sliding_window'), 0) !== 0)
    throw unsupported('a sliding window');
  const heads = metadata.number(key('attention.head_count'));
  const headDim = metadata.number(
    key('attention.key_length'),
    metadata.number(key('embedding_length')) / heads,
  );
  if (metadata.number(key('attention.value_length'), headDim) !== headDim) {
    throw unsupported('values of another width than keys');
  }
  if (metadata.number(key('rope.dimension_count'), headDim) !== headDim) {
    throw unsupported('rotation of a part of each head');
  }
}

/** The decimal number that was stored as fp32: 9.999999747378752e-6 was written as 1e-5. */
const decimal = (value: number): number => Number(value.toPrecision(7));

// --- names ------------------------------------------------------------------------------------

const llamaNames: Readonly<Record<string, string>> = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  attn_q_norm: 'self_attn.q_norm',
  attn_k_norm: 'self_attn.k_norm',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};
const gpt2Names: Readonly<Record<string, string>> = {
  attn_norm: 'ln_1',
  attn_qkv: 'attn.c_attn',
  attn_output: 'attn.c_proj',
  ffn_norm: 'ln_2',
  ffn_up: 'mlp.c_fc',
  ffn_down: 'mlp.c_proj',
};
const llamaOuter: Readonly<Record<string, string>> = {
  token_embd: 'model.embed_tokens',
  output_norm: 'model.norm',
  output: 'lm_head',
};
const gpt2Outer: Readonly<Record<string, string>> = {
  token_embd: 'transformer.wte',
  position_embd: 'transformer.wpe',
  output_norm: 'transformer.ln_f',
  output: 'lm_head',
};

type Placed = GgufTensor & TensorInfo;

function byHuggingFaceName(file: Gguf, config: ModelConfig): Map<string, Placed> {
  const placed = new Map<string, Placed>();
  for (const [ggufName, tensor] of file.tensors) {
    const name = huggingFaceName(ggufName, config.architecture);
    placed.set(name, { ...tensor, name });
  }
  return placed;
}

function huggingFaceName(ggufName: string, architecture: Architecture): string {
  const [outer, inner, layers] =
    architecture === 'gpt2'
      ? [gpt2Outer, gpt2Names, 'transformer.h']
      : [llamaOuter, llamaNames, 'model.layers'];
  const match = /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/.exec(ggufName);
  const [, layer, part, kind] = match ?? [];
  const table = layer === undefined ? outer : inner;
  if (ggufName === 'rope_freqs.weight') throw unsupported('rotary scaling (rope_freqs)');
  if (!part || !Object.hasOwn(table, part)) throw unknownTensor(ggufName, architecture);
  const prefix = layer === undefined ? '' : `${layers}.${layer}.`;
  return `${prefix}${table[part]}.${kind}`;
}

// --- row order --------------------------------------------------------------------------------

/** Head size when the rows of this tensor are permuted in GGUF: Q and K of the llama architecture. */
function permutedHeadDim(name: string, config: ModelConfig): number | undefined {
  if (config.architecture !== 'llama') return undefined;
  return /\.self_attn\.[qk]_proj\.(weight|bias)$/.test(name) ? config.headDim : undefined;
}

/** Rows are moved as bytes; the numbers of a bias can only be when each has bytes of its own. */
function checkRowOrder(config: ModelConfig, placed: ReadonlyMap<string, Placed>): void {
  for (const [name, { shape, format }] of placed) {
    if (shape.length > 1 || !FORMATS[format].quantised) continue;
    if (permutedHeadDim(name, config)) throw unsupported(`the bias ${name} as ${format}`);
  }
}

/**
 * GGUF rotates neighbouring rows, Hugging Face the two halves of a head: Hugging Face's row
 * h·D + half·D/2 + i is GGUF's row h·D + 2i + half. Rows are whole blocks, so bytes can be moved.
 */
function halvesFromPairs(bytes: Uint8Array, rows: number, headDim: number): Uint8Array {
  const rowBytes = bytes.byteLength / rows;
  const out = new Uint8Array(bytes.byteLength);
  for (let row = 0; row < rows; row++) {
    const inHead = row % headDim;
    const half = inHead < headDim / 2 ? 0 : 1;
    const from = row - inHead + 2 * (inHead - (half * headDim) / 2) + half;
    out.set(bytes.subarray(from * rowBytes, (from + 1) * rowBytes), row * rowBytes);
  }
  return out;
}
