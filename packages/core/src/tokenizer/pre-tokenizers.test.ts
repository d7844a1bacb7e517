import { describe, expect, test } from 'vitest';
import golden from '../../../../tests/golden/pretokenizers_golden.json' with { type: 'json' };
import { GgufMetadata } from '../weights/gguf-metadata.ts';
import type { GgufValue } from '../weights/gguf.ts';
import { tokenizerFromGguf } from './from-gguf.ts';
import { buildTokenizer } from './tokenizer.ts';

type Vocabulary = (typeof golden.vocabularies)[number];

const fromJson = ({ tokens, merges, tokenizer_json: json }: Vocabulary) => {
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  return {
    tokenizerJson: { ...json, model: { ...json.model, vocab, merges } },
    tokenizerConfig: { eos_token: '<|im_end|>' },
  };
};

const fromGguf = ({ pre, tokens, types, merges }: Vocabulary) =>
  tokenizerFromGguf(
    new GgufMetadata(
      new Map<string, GgufValue>([
        ['tokenizer.ggml.model', 'gpt2'],
        ['tokenizer.ggml.pre', pre],
        ['tokenizer.ggml.tokens', tokens],
        ['tokenizer.ggml.token_type', types],
        ['tokenizer.ggml.merges', merges],
        ['tokenizer.ggml.eos_token_id', 2],
      ]),
    ),
  );

describe.each(golden.vocabularies)('the $pre pre-tokenizer', (vocabulary) => {
  test.each([
    ['tokenizer.json', fromJson],
    ['GGUF metadata', fromGguf],
  ])('from %s encodes and decodes as Hugging Face does', async (_, specOf) => {
    const tokenizer = await buildTokenizer(specOf(vocabulary));
    for (const { text, ids, decoded } of vocabulary.cases) {
      expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids);
      expect(tokenizer.decode(ids), JSON.stringify(text)).toBe(decoded);
    }
    expect(tokenizer.endOfTurn).toBe(2);
  });
});

test.each([
  ['llama-bpe', [3]],
  ['gpt-2', [0, 1, 2]],
])('a whole word that no merge makes is one token only for Llama 3 (%s)', async (pre, ids) => {
  const tokens = ['a', 'b', 'c', 'abc'];
  const word = { pre, tokens, types: [1, 1, 1, 1], merges: [] as string[] };
  const tokenizer = await buildTokenizer(fromGguf({ ...golden.vocabularies[0]!, ...word }));
  expect(tokenizer.encode('abc')).toEqual(ids);
});
