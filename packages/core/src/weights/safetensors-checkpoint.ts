// A Hugging Face folder (config.json, tokenizer files, safetensors shards) as a Checkpoint.
import { RapportError } from '../error.ts';
import type { ByteSource } from './byte-source.ts';
import { noTensor, type Checkpoint, type TensorInfo } from './checkpoint.ts';
import { configFromHuggingFace } from './hugging-face-config.ts';
import { checkTensors, checkVocabulary, type ModelConfig } from './model-config.ts';
import { readEntry, readSafetensorsHeader, type SafetensorsEntry } from './safetensors.ts';

/** Contents of the JSON files, and the weight files in any order. */
export interface HuggingFaceFiles {
  readonly config: unknown;
  readonly tokenizerJson: unknown;
  readonly tokenizerConfig: unknown;
  /** Folders of older models have none. */
  readonly generationConfig?: unknown;
  /** Text of `chat_template.jinja`, which goes before a template in `tokenizerConfig`. */
  readonly chatTemplate?: string | undefined;
  readonly shards: readonly ByteSource[];
  /** sha256 over the weights, when the caller knows it. */
  readonly digest?: string;
}

interface Placed extends TensorInfo {
  readonly entry: SafetensorsEntry;
  readonly shard: ByteSource;
  /** GPT-2's Conv1D keeps [in, out]; `read` turns it round. */
  readonly transposed: boolean;
}

/**
 * Opens a checkpoint in Hugging Face layout. Only headers are read now.
 *
 * @throws RapportError `weights/…`: see `readSafetensorsHeader`, `configFromHuggingFace` and
 * `checkTensors`; `weights/duplicate` for a tensor in two shards; `weights/inconsistent` for more
 * tokens than the embedding has rows.
 */
export async function openSafetensors(files: HuggingFaceFiles): Promise<Checkpoint> {
  const { tokenizerJson, generationConfig, chatTemplate } = files;
  const tokenizerConfig = withTemplate(files.tokenizerConfig, chatTemplate);
  const stored = new Map<string, { entry: SafetensorsEntry; shard: ByteSource }>();
  for (const shard of files.shards) {
    for (const [name, entry] of (await readSafetensorsHeader(shard)).entries) {
      if (stored.has(name)) throw duplicate(name);
      stored.set(name, { entry, shard });
    }
  }
  const config = configFromHuggingFace(files.config, new Set(stored.keys()));
  const tensors = new Map<string, Placed>();
  for (const [storedName, { entry, shard }] of stored) {
    const name = fullName(storedName, config);
    if (isDerived(name, config)) continue;
    if (tensors.has(name)) throw duplicate(name);
    const transposed = config.architecture === 'gpt2' && conv1d.test(name);
    const shape = transposed ? [...entry.shape].reverse() : entry.shape;
    tensors.set(name, { name, shape, format: entry.format, entry, shard, transposed });
  }
  checkTensors(config, tensors);
  checkVocabulary(tokensIn(tokenizerJson), config);

  return {
    config,
    tokenizer: { tokenizerJson, tokenizerConfig, generationConfig },
    ...(files.digest === undefined ? {} : { digest: files.digest }),
    tensors,
    async read(name) {
      const tensor = tensors.get(name);
      if (!tensor) throw noTensor(name);
      const values = await readEntry(tensor.shard, name, tensor.entry);
      const [rows, columns] = tensor.entry.shape;
      return tensor.transposed ? transpose(values, rows!, columns!) : values;
    },
  };
}

/** One more than the largest id in tokenizer.json; `buildTokenizer` checks everything else in it. */
function tokensIn(tokenizerJson: unknown): number {
  const { model, added_tokens: added } = Object(tokenizerJson) as Record<string, unknown>;
  const { vocab } = Object(model) as Record<string, unknown>;
  const ids: unknown[] = Object.values(Object(vocab) as object);
  if (Array.isArray(added)) for (const one of added) ids.push((Object(one) as { id?: unknown }).id);
  return ids.reduce<number>((n, id) => (typeof id === 'number' && id >= n ? id + 1 : n), 0);
}

/** Newer folders keep the chat template in a file of its own. */
function withTemplate(config: unknown, template: string | undefined): unknown {
  if (template === undefined || typeof config !== 'object' || config === null) return config;
  return { ...config, chat_template: template };
}

const conv1d = /\.(c_attn|c_proj|c_fc)\.weight$/;

/** Checkpoints saved without a head (`GPT2Model`, `LlamaModel`) leave the first part off. */
function fullName(name: string, { architecture }: ModelConfig): string {
  const root = architecture === 'gpt2' ? 'transformer.' : 'model.';
  return name.startsWith(root) || name.startsWith('lm_head.') ? name : root + name;
}

/** Tensors old files carry although they follow from the configuration. */
function isDerived(name: string, config: ModelConfig): boolean {
  if (config.architecture === 'gpt2' && /\.attn\.(bias|masked_bias)$/.test(name)) return true;
  return /\.rotary_emb\.inv_freq$/.test(name) || (config.tiedHead && name === 'lm_head.weight');
}

function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) out[c * rows + r] = values[r * columns + c]!;
  }
  return out;
}

function duplicate(name: string): RapportError {
  return new RapportError(
    'weights/duplicate',
    `The tensor ${name} stands twice in the weight files.`,
    'Give each shard once, all of the same checkpoint.',
  );
}
