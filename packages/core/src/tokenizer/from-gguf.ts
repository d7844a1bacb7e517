// The tokenizer a GGUF file describes, written as Hugging Face's tokenizer.json.
// Pre-tokenizer names and patterns as in llama.cpp's src/llama-vocab.cpp.
import { RapportError } from '../error.ts';
import type { GgufMetadata } from '../weights/gguf-metadata.ts';
import type { AddedToken, TokenizerConfig, TokenizerJson, TokenizerSpec } from './spec.ts';

/** Token types of GGUF that are matched in text before anything else is split. */
const control = 3;
const userDefined = 4;

/**
 * Writes the tokenizer part of GGUF metadata as tokenizer.json, tokenizer_config.json and
 * generation_config.json.
 *
 * @throws RapportError `tokenizer/unsupported` for other models than byte-level BPE or an unknown
 * pre-tokenizer, `weights/metadata` for missing keys, `tokenizer/inconsistent` for lists that do
 * not fit each other.
 */
export function tokenizerFromGguf(metadata: GgufMetadata): TokenizerSpec {
  const model = metadata.text('tokenizer.ggml.model');
  if (model !== 'gpt2') throw unsupported('tokenizer', model, 'byte-level BPE ("gpt2")');
  const tokens = metadata.texts('tokenizer.ggml.tokens');
  const pre = metadata.text('tokenizer.ggml.pre', 'gpt-2');
  const tokenizerJson: TokenizerJson = {
    model: {
      type: 'BPE',
      vocab: vocabulary(tokens),
      merges: metadata.texts('tokenizer.ggml.merges').map(mergePair),
      ignore_merges: pre === 'llama-bpe',
    },
    added_tokens: addedTokens(metadata, tokens),
    // Qwen composes characters before it splits; its GGUF files do not say so.
    normalizer: pre === 'qwen2' ? { type: 'NFC' } : null,
    pre_tokenizer: preTokenizer(pre),
    post_processor: null,
    decoder: { type: 'ByteLevel' },
  };
  const id = (role: string) => tokenId(metadata, role, tokens.length);
  return {
    tokenizerJson,
    tokenizerConfig: configOf(metadata, (role) => tokens[id(role) ?? -1]),
    generationConfig: { eos_token_id: ['eos', 'eot', 'eom'].flatMap((role) => id(role) ?? []) },
  };
}

function vocabulary(tokens: readonly string[]): Record<string, number> {
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  const distinct = Object.keys(vocab).length;
  if (distinct !== tokens.length) {
    throw inconsistent(`${tokens.length - distinct} tokens of the vocabulary stand twice`);
  }
  return vocab;
}

function mergePair(merge: string): [string, string] {
  const space = merge.indexOf(' ', 1);
  if (space < 1) throw inconsistent(`The merge ${JSON.stringify(merge)} is not a pair`);
  return [merge.slice(0, space), merge.slice(space + 1)];
}

function addedTokens(metadata: GgufMetadata, tokens: readonly string[]): AddedToken[] {
  const types = metadata.numbers('tokenizer.ggml.token_type');
  if (types.length !== tokens.length) {
    throw inconsistent(`${types.length} token types for ${tokens.length} tokens`);
  }
  return tokens.flatMap((content, id) => {
    const type = types[id];
    if (type !== control && type !== userDefined) return [];
    const special = type === control;
    const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false };
    return [{ id, content, special, ...plain }];
  });
}

/** The token that has this role, if one has. */
function tokenId(metadata: GgufMetadata, role: string, tokens: number): number | undefined {
  const key = `tokenizer.ggml.${role}_token_id`;
  if (!metadata.has(key)) return undefined;
  const id = metadata.number(key);
  if (Number.isInteger(id) && id >= 0 && id < tokens) return id;
  throw inconsistent(`${key} is ${id}, there are ${tokens} tokens`);
}

function configOf(
  metadata: GgufMetadata,
  token: (role: string) => string | undefined,
): TokenizerConfig {
  const config = {
    bos_token: token('bos'),
    eos_token: token('eot') ?? token('eos'),
    unk_token: token('unknown'),
    pad_token: token('padding'),
    chat_template: metadata.has('tokenizer.chat_template')
      ? metadata.text('tokenizer.chat_template')
      : undefined,
  };
  return Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined));
}

// --- pre-tokenizers ---------------------------------------------------------------------------

const byteLevel = (useRegex: boolean) => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
});

const splitThenBytes = (pattern: string) => ({
  type: 'Sequence',
  pretokenizers: [
    { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false },
    byteLevel(false),
  ],
});

const words =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|NUMBER| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

function preTokenizer(pre: string): unknown {
  switch (pre) {
    case 'gpt-2':
    case 'default':
      return byteLevel(true);
    case 'smollm':
      return {
        type: 'Sequence',
        pretokenizers: [{ type: 'Digits', individual_digits: true }, byteLevel(true)],
      };
    case 'qwen2':
      return splitThenBytes(words.replace('NUMBER', '\\p{N}'));
    case 'llama-bpe':
      return splitThenBytes(words.replace('NUMBER', '\\p{N}{1,3}'));
    default:
      throw unsupported('pre-tokenizer', pre, 'gpt-2, smollm, qwen2 or llama-bpe');
  }
}

// --- errors -----------------------------------------------------------------------------------

function unsupported(what: string, found: string, expected: string): RapportError {
  return new RapportError(
    'tokenizer/unsupported',
    `The ${what} of this model is ${JSON.stringify(found)}; ${expected} is supported.`,
    'Choose a model with a byte-level BPE tokenizer, such as SmolLM2, Qwen2 or GPT-2.',
  );
}

function inconsistent(found: string): RapportError {
  return new RapportError(
    'tokenizer/inconsistent',
    `${found}.`,
    'Use a file written by a current converter.',
  );
}
