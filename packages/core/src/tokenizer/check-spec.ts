// Checks the JSON files of a tokenizer before the library sees them.
// Shapes only as far as this room relies on them.
import * as v from 'valibot';
import { RapportError } from '../error.ts';
import type { TokenizerConfig, TokenizerJson, TokenizerSpec } from './spec.ts';

const MOST_ID = (1 << 24) - 1;
const isId = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MOST_ID;
const id = v.custom<number>(isId, `not a whole number from 0 to ${MOST_ID}`);

/** Not `v.record`: that drops "constructor" and "prototype", which vocabularies of code have as tokens. */
const vocabulary = v.custom<Record<string, number>>(
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every(isId),
  `not whole numbers from 0 to ${MOST_ID} by token`,
);

const isText = (value: unknown) => typeof value === 'string';
const isPair = (value: unknown) =>
  Array.isArray(value) && value.length === 2 && value.every(isText);
/** Looked at where they are: `v.array` would copy tens of thousands of them, and the page would keep that memory. */
const merges = v.custom<string[] | [string, string][]>(
  (value) => Array.isArray(value) && (value.every(isText) || value.every(isPair)),
  'neither texts nor pairs of texts',
);

const addedToken = v.looseObject({
  id,
  content: v.pipe(v.string(), v.minLength(1)),
  special: v.optional(v.boolean(), false),
});

const tokenizerJson = v.looseObject({
  model: v.looseObject({
    type: v.optional(v.string()),
    vocab: vocabulary,
    merges,
  }),
  added_tokens: v.optional(v.array(addedToken), []),
  normalizer: v.optional(v.nullable(v.looseObject({})), null),
  pre_tokenizer: v.optional(v.nullable(v.looseObject({})), null),
  post_processor: v.optional(v.nullable(v.looseObject({})), null),
  decoder: v.optional(v.nullable(v.looseObject({ type: v.string() })), null),
});

const namedToken = v.union([v.string(), v.looseObject({ content: v.string() })]);
const template = v.union([
  v.string(),
  v.array(v.object({ name: v.string(), template: v.string() })),
]);

const tokenizerConfig = v.looseObject({
  chat_template: v.nullish(template),
  eos_token: v.nullish(namedToken),
});

const generationConfig = v.looseObject({
  eos_token_id: v.nullish(v.union([id, v.array(id)])),
});

interface CheckedSpec {
  readonly json: TokenizerJson;
  readonly config: TokenizerConfig;
  readonly endOfTurn: number;
  readonly ends: ReadonlySet<number>;
}

/**
 * The spec with its shape known, digits split as Hugging Face splits them, the id of the token that ends
 * a turn, and all ids at which a reply ends.
 *
 * @throws RapportError `tokenizer/invalid`, `tokenizer/unsupported`.
 */
export function checkSpec(spec: TokenizerSpec): CheckedSpec {
  const json: TokenizerJson = parse('tokenizer.json', tokenizerJson, spec.tokenizerJson);
  const config = parse('tokenizer_config.json', tokenizerConfig, spec.tokenizerConfig);
  const type = json.model.type ?? 'BPE';
  const decoder = (json.decoder as { type: string } | null)?.type;
  if (type !== 'BPE' || decoder !== 'ByteLevel') {
    throw new RapportError(
      'tokenizer/unsupported',
      `The tokenizer is ${type} with the decoder ${decoder}; byte-level BPE is supported.`,
      'Choose a model with a byte-level BPE tokenizer, such as SmolLM2, Qwen2 or GPT-2.',
    );
  }
  const generation = parse('generation_config.json', generationConfig, spec.generationConfig ?? {});
  const end = endOfTurn(json, config.eos_token);
  return {
    json: { ...json, pre_tokenizer: splitDigitsByUnicode(json.pre_tokenizer) },
    config,
    endOfTurn: end,
    ends: new Set([end, ...[generation.eos_token_id ?? []].flat()]),
  };
}

function parse<S extends v.GenericSchema>(file: string, schema: S, value: unknown) {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw new RapportError(
    'tokenizer/invalid',
    `${file} is not usable: ${v.getDotPath(issue) ?? 'the file'}: ${issue.message}.`,
    'Use the file that was published with the model.',
  );
}

// The library's Digits knows only 0-9; Hugging Face's means every Unicode number (², ½, ٣, Ⅷ).
function splitDigitsByUnicode(pre: unknown): unknown {
  if (pre === null || typeof pre !== 'object') return pre;
  if ('pretokenizers' in pre && Array.isArray(pre.pretokenizers)) {
    return { ...pre, pretokenizers: pre.pretokenizers.map(splitDigitsByUnicode) };
  }
  if (!('type' in pre) || pre.type !== 'Digits') return pre;
  const each = 'individual_digits' in pre && pre.individual_digits === true;
  const pattern = { Regex: each ? '\\p{N}' : '\\p{N}+' };
  return { type: 'Split', pattern, behavior: 'Isolated', invert: false };
}

function endOfTurn(
  json: TokenizerJson,
  token: v.InferOutput<typeof namedToken> | null | undefined,
) {
  const content = typeof token === 'object' ? token?.content : token;
  const added = json.added_tokens.find((one) => one.content === content);
  const found = added?.id ?? (content === undefined ? undefined : json.model.vocab[content]);
  if (found !== undefined) return found;
  throw new RapportError(
    'tokenizer/invalid',
    `The end-of-turn token ${JSON.stringify(content ?? null)} is not in the vocabulary.`,
    'Use the tokenizer_config.json that was published with the model; it names eos_token.',
  );
}
