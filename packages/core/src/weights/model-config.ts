// The shape of a model, and which tensors that shape calls for.
// Knows nothing of files: GGUF metadata and config.json are translated by their own readers.
import { RapportError } from '../error.ts';

export type Architecture = 'llama' | 'qwen2' | 'qwen3' | 'gpt2';

/** Everything about a model that its graph depends on. Sizes are counts of elements. */
export interface ModelConfig {
  readonly architecture: Architecture;
  readonly layers: number;
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Width of the feed-forward layer. */
  readonly ffn: number;
  readonly vocab: number;
  /** Longest sequence in tokens the model was trained for. */
  readonly context: number;
  /** Base of the rotary angles; 0 for GPT-2, which has learned positions. */
  readonly ropeTheta: number;
  readonly normEpsilon: number;
  /** The output head is the embedding matrix. */
  readonly tiedHead: boolean;
  /** Which linears have a bias: Q, K and V; the attention output; the feed-forward layers. */
  readonly biases: { readonly qkv: boolean; readonly out: boolean; readonly ffn: boolean };
  /** RMS norm over each head of Q and K before rotation (Qwen3). */
  readonly qkNorm: boolean;
}

const sizes = [
  'layers',
  'hidden',
  'heads',
  'kvHeads',
  'headDim',
  'ffn',
  'vocab',
  'context',
] as const;
const maxSize = 1 << 24;

/**
 * Checks that the numbers of a config can belong to a model.
 *
 * @throws RapportError `weights/inconsistent` naming the first value that cannot.
 */
export function checkConfig(config: ModelConfig): ModelConfig {
  for (const size of sizes) {
    const value = config[size];
    if (!Number.isInteger(value) || value < 1 || value > maxSize) {
      throw inconsistent(`${size} is ${value}`, `a whole number from 1 to ${maxSize}`);
    }
  }
  const { heads, kvHeads, headDim, normEpsilon, ropeTheta, architecture } = config;
  if (config.layers > 1024) throw inconsistent(`layers is ${config.layers}`, 'at most 1024');
  if (heads % kvHeads) throw inconsistent(`${heads} heads for ${kvHeads} kvHeads`, 'a multiple');
  if (!(normEpsilon >= 0 && normEpsilon < 1)) {
    throw inconsistent(`normEpsilon is ${normEpsilon}`, 'a number from 0 to 1');
  }
  if (architecture === 'gpt2') {
    if (heads * headDim !== config.hidden) throw inconsistent('hidden', 'heads times headDim');
    return config;
  }
  if (headDim % 2) throw inconsistent(`headDim is ${headDim}`, 'an even number');
  if (!(ropeTheta > 0 && ropeTheta < Infinity)) {
    throw inconsistent(`ropeTheta is ${ropeTheta}`, 'a positive number');
  }
  return config;
}

/** The error for a model whose parts contradict each other. */
function inconsistent(found: string, expected: string): RapportError {
  return new RapportError(
    'weights/inconsistent',
    `The model's description does not hold together: ${found}, expected ${expected}.`,
    'Use a file written by a current converter.',
  );
}

/**
 * Every tensor a model of this shape has, by Hugging Face name, with its shape; linears are
 * [out, in]. This is what a checkpoint must contain, no more and no less.
 */
export function tensorShapes(config: ModelConfig): Map<string, readonly number[]> {
  return config.architecture === 'gpt2' ? gpt2Shapes(config) : llamaShapes(config);
}

function llamaShapes(config: ModelConfig): Map<string, readonly number[]> {
  const { layers, hidden, heads, kvHeads, headDim, ffn, vocab, biases, qkNorm } = config;
  const shapes = new Map<string, readonly number[]>([
    ['model.embed_tokens.weight', [vocab, hidden]],
    ['model.norm.weight', [hidden]],
  ]);
  if (!config.tiedHead) shapes.set('lm_head.weight', [vocab, hidden]);
  const linear = (name: string, outputs: number, inputs: number, bias: boolean) => {
    shapes.set(`${name}.weight`, [outputs, inputs]);
    if (bias) shapes.set(`${name}.bias`, [outputs]);
  };
  for (let i = 0; i < layers; i++) {
    const layer = `model.layers.${i}`;
    shapes.set(`${layer}.input_layernorm.weight`, [hidden]);
    linear(`${layer}.self_attn.q_proj`, heads * headDim, hidden, biases.qkv);
    linear(`${layer}.self_attn.k_proj`, kvHeads * headDim, hidden, biases.qkv);
    linear(`${layer}.self_attn.v_proj`, kvHeads * headDim, hidden, biases.qkv);
    linear(`${layer}.self_attn.o_proj`, hidden, heads * headDim, biases.out);
    if (qkNorm) {
      shapes.set(`${layer}.self_attn.q_norm.weight`, [headDim]);
      shapes.set(`${layer}.self_attn.k_norm.weight`, [headDim]);
    }
    shapes.set(`${layer}.post_attention_layernorm.weight`, [hidden]);
    linear(`${layer}.mlp.gate_proj`, ffn, hidden, biases.ffn);
    linear(`${layer}.mlp.up_proj`, ffn, hidden, biases.ffn);
    linear(`${layer}.mlp.down_proj`, hidden, ffn, biases.ffn);
  }
  return shapes;
}

function gpt2Shapes(config: ModelConfig): Map<string, readonly number[]> {
  const { layers, hidden, ffn, vocab, context } = config;
  const shapes = new Map<string, readonly number[]>([
    ['transformer.wte.weight', [vocab, hidden]],
    ['transformer.wpe.weight', [context, hidden]],
    ['transformer.ln_f.weight', [hidden]],
    ['transformer.ln_f.bias', [hidden]],
  ]);
  if (!config.tiedHead) shapes.set('lm_head.weight', [vocab, hidden]);
  const linear = (name: string, outputs: number, inputs: number) => {
    shapes.set(`${name}.weight`, [outputs, inputs]);
    shapes.set(`${name}.bias`, [outputs]);
  };
  for (let i = 0; i < layers; i++) {
    const layer = `transformer.h.${i}`;
    for (const norm of ['ln_1', 'ln_2']) {
      shapes.set(`${layer}.${norm}.weight`, [hidden]);
      shapes.set(`${layer}.${norm}.bias`, [hidden]);
    }
    linear(`${layer}.attn.c_attn`, 3 * hidden, hidden);
    linear(`${layer}.attn.c_proj`, hidden, hidden);
    linear(`${layer}.mlp.c_fc`, ffn, hidden);
    linear(`${layer}.mlp.c_proj`, hidden, ffn);
  }
  return shapes;
}

/**
 * Checks that a file has every tensor of the model, in the right shape, and no others.
 *
 * @throws RapportError `weights/missing-tensor`, `weights/unknown-tensor` or `weights/inconsistent`.
 */
export function checkTensors(
  config: ModelConfig,
  found: ReadonlyMap<string, { readonly shape: readonly number[] }>,
): void {
  const shapes = tensorShapes(config);
  for (const [name, shape] of shapes) {
    const tensor = found.get(name);
    if (!tensor) {
      throw new RapportError(
        'weights/missing-tensor',
        `The file has no tensor ${name} [${shape.join(', ')}], which its ${config.architecture} model needs.`,
        'Use a complete checkpoint: all shards, not an adapter.',
      );
    }
    if (tensor.shape.length !== shape.length || tensor.shape.some((d, i) => d !== shape[i])) {
      throw inconsistent(`${name} is [${tensor.shape.join(', ')}]`, `[${shape.join(', ')}]`);
    }
  }
  for (const name of found.keys()) {
    if (!shapes.has(name)) throw unknownTensor(name, config.architecture);
  }
}

/**
 * A token without a row in the embedding could never be looked up.
 *
 * @throws RapportError `weights/inconsistent`.
 */
export function checkVocabulary(tokens: number, { vocab }: ModelConfig): void {
  if (tokens > vocab) throw inconsistent(`the vocabulary has ${tokens} tokens`, `at most ${vocab}`);
}

/** The error for a tensor that no part of the model uses: running without it would be wrong. */
export function unknownTensor(name: string, architecture: string): RapportError {
  return new RapportError(
    'weights/unknown-tensor',
    `The file has a tensor ${name}, which a ${architecture} model does not use here.`,
    'Use a model of the llama, qwen2, qwen3 or gpt2 architecture without extensions.',
  );
}

/** The error for a feature of a model that this project does not compute. */
export function unsupported(what: string): RapportError {
  return new RapportError(
    'weights/unsupported',
    `This model needs ${what}, which is not supported.`,
    'Choose a model of the llama, qwen2, qwen3 or gpt2 architecture.',
  );
}
