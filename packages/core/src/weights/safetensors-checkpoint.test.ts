import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { tinyCheckpoint, tinyExpected, tinyNames } from '../../../../tests/support/tiny.ts';
import { RapportError } from '../error.ts';
import { bytesSource } from './byte-source.ts';
import { openSafetensors } from './safetensors-checkpoint.ts';
import { tensorShapes } from './model-config.ts';
import { readSafetensors, writeSafetensors, type NamedTensor } from './safetensors.ts';

const tiny = {
  model_type: 'llama',
  num_hidden_layers: 1,
  hidden_size: 8,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  intermediate_size: 12,
  vocab_size: 10,
  max_position_embeddings: 16,
  tie_word_embeddings: true,
};

function tensorsOf(names: Iterable<[string, readonly number[]]>): Map<string, NamedTensor> {
  const tensors = new Map<string, NamedTensor>();
  for (const [name, shape] of names) {
    const data = new Float32Array(shape.reduce((n, d) => n * d, 1)).fill(tensors.size);
    tensors.set(name, { shape, data });
  }
  return tensors;
}

const shapesOfTiny = () =>
  tensorShapes({
    architecture: 'llama',
    layers: 1,
    hidden: 8,
    heads: 2,
    kvHeads: 1,
    headDim: 4,
    ffn: 12,
    vocab: 10,
    context: 16,
    ropeTheta: 1e4,
    normEpsilon: 1e-6,
    tiedHead: true,
    biases: { qkv: false, out: false, ffn: false },
    qkNorm: false,
  });

const open = (
  tensors: Map<string, NamedTensor>,
  config: object = tiny,
  tokenizerJson: unknown = null,
) =>
  openSafetensors({
    config,
    tokenizerJson,
    tokenizerConfig: null,
    shards: [bytesSource(writeSafetensors(tensors))],
  });

describe('tiny checkpoints saved by transformers', () => {
  test.each(tinyNames)('%s has exactly the tensors of its configuration', async (name) => {
    const checkpoint = await tinyCheckpoint(name);
    for (const [tensor, info] of checkpoint.tensors) {
      const values = await checkpoint.read(tensor);
      expect(values.length).toBe(info.shape.reduce((n, d) => n * d, 1));
      expect(values.every(Number.isFinite)).toBe(true);
    }
    expect(checkpoint.config.tiedHead).toBe(name === 'gpt2' || name.endsWith('-tied'));
  });

  test.each(tinyNames)('the embedding rows of %s are where PyTorch finds them', async (name) => {
    const checkpoint = await tinyCheckpoint(name);
    const expected = await tinyExpected(name);
    const gpt2 = name === 'gpt2';
    const rows = await checkpoint.read(
      gpt2 ? 'transformer.wte.weight' : 'model.embed_tokens.weight',
    );
    const positions = gpt2 ? await checkpoint.read('transformer.wpe.weight') : undefined;
    expected.tokens[0]!.forEach((token, t) => {
      expected.hidden_states[0]![0]![t]!.forEach((want, i) => {
        expect(rows[token * 32 + i]! + (positions?.[t * 32 + i] ?? 0)).toBeCloseTo(want, 6);
      });
    });
  });

  test('their configurations are read from both generations of config.json', async () => {
    const { config } = await tinyCheckpoint('llama-tied');
    expect(config).toMatchObject({ ropeTheta: 100_000, headDim: 8, kvHeads: 2, layers: 2 });
    const older = await open(tensorsOf(shapesOfTiny()), { ...tiny, rope_theta: 5e5 });
    expect(older.config).toMatchObject({ ropeTheta: 500_000, headDim: 4, normEpsilon: 1e-6 });
  });

  test("GPT-2's Conv1D weights are turned to [out, in]", async () => {
    const path = '../../../../tests/reference/checkpoints/gpt2/model.safetensors';
    const file = bytesSource(new Uint8Array(await readFile(new URL(path, import.meta.url))));
    const stored = await readSafetensors(file);
    const checkpoint = await tinyCheckpoint('gpt2');
    for (const name of ['attn.c_attn', 'attn.c_proj', 'mlp.c_fc', 'mlp.c_proj']) {
      const full = `transformer.h.0.${name}.weight`;
      const [inputs, outputs] = stored.get(full)!.shape as [number, number];
      expect(checkpoint.tensors.get(full)!.shape).toEqual([outputs, inputs]);
      const turned = await checkpoint.read(full);
      stored.get(full)!.data.forEach((value, k) => {
        expect(turned[(k % outputs) * inputs + Math.floor(k / outputs)]).toBe(value);
      });
    }
  });
});

describe('a checkpoint that does not fit its configuration is refused', () => {
  test('a tensor is missing', async () => {
    const tensors = tensorsOf(shapesOfTiny());
    tensors.delete('model.norm.weight');
    await expect(open(tensors)).rejects.toMatchObject({ code: 'weights/missing-tensor' });
  });

  test('a tensor is not known', async () => {
    const tensors = tensorsOf([...shapesOfTiny(), ['model.layers.0.mlp.router.weight', [2, 2]]]);
    await expect(open(tensors)).rejects.toMatchObject({ code: 'weights/unknown-tensor' });
  });

  test('a tensor has another shape', async () => {
    const tensors = tensorsOf([...shapesOfTiny(), ['model.norm.weight', [9]]]);
    await expect(open(tensors)).rejects.toMatchObject({ code: 'weights/inconsistent' });
  });

  test('a token has no row in the embedding', async () => {
    const tensors = tensorsOf(shapesOfTiny());
    const withIds = (id: unknown, added: unknown) =>
      open(tensors, tiny, { model: { vocab: { a: 0, b: id } }, added_tokens: added });
    await expect(withIds(9, [{ id: 9 }])).resolves.toBeDefined();
    for (const [id, added] of [
      [10, []],
      [1e300, []],
      [1, [{ id: 10 }]],
    ]) {
      await expect(withIds(id, added)).rejects.toMatchObject({ code: 'weights/inconsistent' });
    }
  });

  test('whatever tokenizer.json says', async () => {
    const tensors = tensorsOf(shapesOfTiny());
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), fc.jsonValue(), async (vocab, added) => {
        for (const json of [vocab, { model: added }, { model: { vocab }, added_tokens: added }]) {
          await open(tensors, tiny, json).catch((error: unknown) => {
            expect(error).toBeInstanceOf(RapportError);
          });
        }
      }),
      { numRuns: 100 },
    );
  });

  test('a tensor stands in two shards', async () => {
    const shard = bytesSource(writeSafetensors(tensorsOf(shapesOfTiny())));
    const files = { config: tiny, tokenizerJson: null, tokenizerConfig: null };
    await expect(openSafetensors({ ...files, shards: [shard, shard] })).rejects.toMatchObject({
      code: 'weights/duplicate',
    });
  });

  test.each([
    ['another architecture', { model_type: 'mamba' }, 'weights/unsupported'],
    ['another activation', { hidden_act: 'gelu' }, 'weights/unsupported'],
    ['scaled rotation', { rope_scaling: { rope_type: 'llama3' } }, 'weights/unsupported'],
    ['partial rotation', { partial_rotary_factor: 0.5 }, 'weights/unsupported'],
    ['a text for a number', { hidden_size: '8' }, 'weights/config'],
    ['no layers', { num_hidden_layers: 0 }, 'weights/inconsistent'],
    ['a billion layers', { num_hidden_layers: 1e9 }, 'weights/inconsistent'],
    ['heads that do not divide', { num_key_value_heads: 3 }, 'weights/inconsistent'],
    ['a fractional width', { hidden_size: 8.5 }, 'weights/inconsistent'],
  ])('%s', async (_, change, code) => {
    await expect(open(tensorsOf(shapesOfTiny()), { ...tiny, ...change })).rejects.toMatchObject({
      code,
    });
  });

  test('whatever config.json says', async () => {
    const tensors = tensorsOf(shapesOfTiny());
    const value = fc.oneof(fc.jsonValue(), fc.constantFrom(0, -1, 1e300, 2 ** 53, 'gpt2', [], {}));
    const keys = [
      ...Object.keys(tiny),
      'rope_parameters',
      'rope_scaling',
      'head_dim',
      'hidden_act',
    ];
    const change = fc.tuple(fc.constantFrom(...keys), value);
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
        await open(tensors, { ...tiny, ...Object.fromEntries(changes) }).catch((error: unknown) => {
          expect(error).toBeInstanceOf(RapportError);
        });
      }),
      { numRuns: 300 },
    );
  });

  test('config.json is not an object', async () => {
    await expect(open(tensorsOf(shapesOfTiny()), null as never)).rejects.toMatchObject({
      code: 'weights/config',
    });
  });
});
