import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RapportError } from '../error.ts';
import { buildTokenizer, type Tokenizer } from './tokenizer.ts';

const letters = ['a', 'b', 'ab', '<end>'];
const json = {
  model: {
    type: 'BPE',
    vocab: Object.fromEntries(letters.map((token, id) => [token, id])),
    merges: ['a b'],
  },
  added_tokens: [{ id: 3, content: '<end>', special: true }],
  pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false },
  decoder: { type: 'ByteLevel' },
};
const config = { eos_token: '<end>', chat_template: '{{ messages[0].content }}<end>' };

const build = (jsonChange: object = {}, configChange: object = {}): Promise<Tokenizer> =>
  buildTokenizer({
    tokenizerJson: { ...json, ...jsonChange },
    tokenizerConfig: { ...config, ...configChange },
  });

describe('a small tokenizer', () => {
  test('works', async () => {
    const tokenizer = await build();
    expect(tokenizer.encode('ab<end>ba')).toEqual([2, 3, 1, 0]);
    expect(tokenizer.encode('')).toEqual([]);
    expect(tokenizer.decode([])).toBe('');
    const messages = [{ role: 'user' as const, content: 'ab' }];
    expect(tokenizer.encodeChat(messages, { addGenerationPrompt: true })).toEqual([2, 3]);
  });

  test('keeps tokens that are special in JavaScript', async () => {
    const special = ['constructor', 'prototype', '__proto__'];
    const vocab = Object.fromEntries([...letters, ...special].map((token, id) => [token, id]));
    const added_tokens = special.map((content, i) => ({ id: 4 + i, content, special: false }));
    const tokenizer = await build({
      model: { ...json.model, vocab },
      added_tokens: [...json.added_tokens, ...added_tokens],
    });
    expect(tokenizer.encode('abconstructor')).toEqual([2, 4]);
    expect(tokenizer.decode([2, 4, 5, 6])).toBe('abconstructorprototype__proto__');
    const without = await build({ model: { ...json.model, vocab } });
    expect(without.decode([4, 5, 6])).toBe('constructorprototype__proto__');
  });

  test('has another digest when any part of it differs', async () => {
    const { digest } = await build();
    const changes = await Promise.all([
      build({ model: { ...json.model, merges: [] } }),
      build({ pre_tokenizer: { type: 'ByteLevel', add_prefix_space: true } }),
      build({}, { chat_template: '' }),
    ]);
    expect(new Set([digest, ...changes.map((one) => one.digest)]).size).toBe(4);
  });
});

test.each<[unknown, number[]]>([
  [undefined, [3]],
  [{}, [3]],
  [{ eos_token_id: null }, [3]],
  [{ eos_token_id: 1, temperature: 0.6 }, [1, 3]],
  [{ eos_token_id: [3, 0] }, [0, 3]],
])('with a generation_config.json of %j a reply ends at %j', async (generationConfig, ends) => {
  const spec = { tokenizerJson: json, tokenizerConfig: config, generationConfig };
  const tokenizer = await buildTokenizer(spec);
  expect([...tokenizer.ends].sort()).toEqual(ends);
  expect(tokenizer.endOfTurn).toBe(3);
});

describe('a tokenizer that cannot be used is refused by name', () => {
  test.each<[string, object, object, string]>([
    ['no vocabulary', { model: { type: 'BPE', merges: [] } }, {}, 'tokenizer/invalid'],
    [
      'ids that are no numbers',
      { model: { vocab: { a: '0' }, merges: [] } },
      {},
      'tokenizer/invalid',
    ],
    [
      'an id in the billions',
      { model: { vocab: { a: 4e9 }, merges: [] } },
      {},
      'tokenizer/invalid',
    ],
    ['another model', { model: { ...json.model, type: 'WordPiece' } }, {}, 'tokenizer/unsupported'],
    ['another decoder', { decoder: { type: 'Metaspace' } }, {}, 'tokenizer/unsupported'],
    ['no decoder', { decoder: null }, {}, 'tokenizer/unsupported'],
    ['an unknown splitter', { pre_tokenizer: { type: 'Sideways' } }, {}, 'tokenizer/unsupported'],
    ['no end of turn', {}, { eos_token: null }, 'tokenizer/invalid'],
    ['an end of turn that is no token', {}, { eos_token: '<stop>' }, 'tokenizer/invalid'],
    ['a template that is a number', {}, { chat_template: 5 }, 'tokenizer/invalid'],
  ])('%s', async (_, jsonChange, configChange, code) => {
    await expect(build(jsonChange, configChange)).rejects.toMatchObject({ code });
  });

  test.each<unknown>([3, '<end>', { eos_token_id: '<end>' }, { eos_token_id: [2, -1] }])(
    'a generation_config.json of %j',
    async (generationConfig) => {
      const spec = { tokenizerJson: json, tokenizerConfig: config, generationConfig };
      await expect(buildTokenizer(spec)).rejects.toMatchObject({ code: 'tokenizer/invalid' });
    },
  );

  test('whatever the files contain', async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), fc.jsonValue(), async (tokenizerJson, tokenizerConfig) => {
        await expect(buildTokenizer({ tokenizerJson, tokenizerConfig })).rejects.toBeInstanceOf(
          RapportError,
        );
      }),
      { numRuns: 100 },
    );
  });
});

describe('a conversation', () => {
  const messages = [{ role: 'user' as const, content: 'a' }];

  test('cannot be rendered without a template', async () => {
    const tokenizer = await build({}, { chat_template: null });
    expect(() => tokenizer.renderChat(messages, { addGenerationPrompt: true })).toThrowError(
      expect.objectContaining({ code: 'tokenizer/no-template' }),
    );
  });

  test.each(['{% if %}', '{{ raise_exception("only users") }}'])(
    'that the template %s refuses is a named error',
    async (template) => {
      const tokenizer = await build({}, { chat_template: template });
      expect(() => tokenizer.renderChat(messages, { addGenerationPrompt: true })).toThrowError(
        expect.objectContaining({ code: 'tokenizer/template' }),
      );
    },
  );
});
