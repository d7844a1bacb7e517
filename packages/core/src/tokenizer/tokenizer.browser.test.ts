import { describe, expect, test } from 'vitest';
import golden from '../../../../tests/golden/pretokenizers_golden.json' with { type: 'json' };
import { buildTokenizer } from './tokenizer.ts';

describe('in a browser', () => {
  test.each(golden.vocabularies)('$pre gives the same ids as Hugging Face', async (vocabulary) => {
    const { tokens, merges, tokenizer_json: json } = vocabulary;
    const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
    const tokenizer = await buildTokenizer({
      tokenizerJson: { ...json, model: { ...json.model, vocab, merges } },
      tokenizerConfig: { eos_token: '<|im_end|>' },
    });
    for (const { text, ids, decoded } of vocabulary.cases) {
      expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids);
      expect(tokenizer.decode(ids), JSON.stringify(text)).toBe(decoded);
    }
  });

  test('nothing is fetched from anywhere else, and ONNX Runtime is not told to', async () => {
    const origins = performance
      .getEntriesByType('resource')
      .map(({ name }) => new URL(name).origin);
    expect(new Set(origins)).toEqual(new Set([location.origin]));
    const { env } = await import('@xenova/transformers');
    expect(JSON.stringify(env.backends.onnx.wasm?.wasmPaths ?? null)).not.toContain('http');
  });
});
