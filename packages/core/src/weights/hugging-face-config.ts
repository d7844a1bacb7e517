// config.json of transformers as a ModelConfig. Keys as in transformers' configuration_llama.py,
// configuration_qwen2.py, configuration_qwen3.py and configuration_gpt2.py, versions 4 and 5.
import { RapportError } from '../error.ts';
import { checkConfig, unsupported, type ModelConfig } from './model-config.ts';

/**
 * The model that config.json describes.
 *
 * @param tensorNames names in the weight files: they decide what config.json leaves open.
 * @throws RapportError `weights/config` for missing or ill-typed keys, `weights/unsupported` for
 * what this project does not compute, `weights/inconsistent` for impossible numbers.
 */
export function configFromHuggingFace(
  json: unknown,
  tensorNames: ReadonlySet<string>,
): ModelConfig {
  const config = new Keys(json);
  const type = config.text('model_type');
  switch (type) {
    case 'gpt2':
      return checkConfig(gpt2(config, tensorNames));
    case 'llama':
    case 'qwen2':
    case 'qwen3':
      return checkConfig(llama(type, config, tensorNames));
    default:
      throw unsupported(`the architecture ${JSON.stringify(type)}`);
  }
}

function llama(
  architecture: 'llama' | 'qwen2' | 'qwen3',
  config: Keys,
  tensorNames: ReadonlySet<string>,
): ModelConfig {
  const activation = config.text('hidden_act', 'silu');
  if (activation !== 'silu') throw unsupported(`the activation ${JSON.stringify(activation)}`);
  if (config.flag('use_sliding_window', false)) throw unsupported('a sliding window');
  if (config.number('partial_rotary_factor', 1) !== 1) {
    throw unsupported('rotation of a part of each head');
  }
  const hidden = config.number('hidden_size');
  const heads = config.number('num_attention_heads');
  const attentionBias = config.flag('attention_bias', false);
  return {
    architecture,
    layers: config.number('num_hidden_layers'),
    hidden,
    heads,
    kvHeads: config.number('num_key_value_heads', heads),
    headDim: config.number('head_dim', architecture === 'qwen3' ? 128 : hidden / heads),
    ffn: config.number('intermediate_size'),
    vocab: config.number('vocab_size'),
    context: config.number('max_position_embeddings'),
    ropeTheta: ropeTheta(config),
    normEpsilon: config.number('rms_norm_eps', 1e-6),
    tiedHead: config.flag('tie_word_embeddings', !tensorNames.has('lm_head.weight')),
    biases: {
      qkv: architecture === 'qwen2' || attentionBias,
      out: architecture !== 'qwen2' && attentionBias,
      ffn: architecture === 'llama' && config.flag('mlp_bias', false),
    },
    qkNorm: architecture === 'qwen3',
  };
}

// Version 5 of transformers keeps both in `rope_parameters`, version 4 in two keys.
function ropeTheta(config: Keys): number {
  const rope = config.record('rope_parameters') ?? config.record('rope_scaling');
  const type = rope?.text('rope_type', rope.text('type', 'default')) ?? 'default';
  if (type !== 'default') throw unsupported(`rotary scaling of type ${JSON.stringify(type)}`);
  const theta = config.number('rope_theta', 10_000);
  return rope?.number('rope_theta', theta) ?? theta;
}

function gpt2(config: Keys, tensorNames: ReadonlySet<string>): ModelConfig {
  const activation = config.text('activation_function', 'gelu_new');
  if (activation !== 'gelu_new') throw unsupported(`the activation ${JSON.stringify(activation)}`);
  if (config.flag('scale_attn_by_inverse_layer_idx', false)) {
    throw unsupported('attention scaled by layer');
  }
  if (!config.flag('scale_attn_weights', true)) throw unsupported('attention that is not scaled');
  const hidden = config.number('n_embd');
  const heads = config.number('n_head');
  return {
    architecture: 'gpt2',
    layers: config.number('n_layer'),
    hidden,
    heads,
    kvHeads: heads,
    headDim: hidden / heads,
    ffn: config.number('n_inner', 4 * hidden),
    vocab: config.number('vocab_size'),
    context: config.number('n_positions'),
    ropeTheta: 0,
    normEpsilon: config.number('layer_norm_epsilon', 1e-5),
    tiedHead: config.flag('tie_word_embeddings', !tensorNames.has('lm_head.weight')),
    biases: { qkv: true, out: true, ffn: true },
    qkNorm: false,
  };
}

/** Typed access to the keys of a JSON object; null counts as missing. */
class Keys {
  readonly #json: Record<string, unknown>;

  constructor(json: unknown) {
    if (typeof json !== 'object' || json === null) throw unusable('It is not a JSON object');
    this.#json = json as Record<string, unknown>;
  }

  number(key: string, fallback?: number): number {
    return this.#get(key, 'number', fallback) as number;
  }

  flag(key: string, fallback?: boolean): boolean {
    return this.#get(key, 'boolean', fallback) as boolean;
  }

  text(key: string, fallback?: string): string {
    return this.#get(key, 'string', fallback) as string;
  }

  record(key: string): Keys | undefined {
    const value = this.#json[key];
    return value === undefined || value === null ? undefined : new Keys(value);
  }

  #get(key: string, type: string, fallback: unknown): unknown {
    const value = this.#json[key] ?? fallback;
    if (typeof value === type) return value;
    throw unusable(`${key} is ${value === undefined ? 'missing' : `not a ${type}`}`);
  }
}

function unusable(found: string): RapportError {
  return new RapportError(
    'weights/config',
    `config.json is not usable: ${found}.`,
    'Use the config.json that was published with the weights.',
  );
}
