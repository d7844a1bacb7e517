import { describe, expect, test } from 'vitest';
import { buildGguf, type GgufEntry } from '../../../../tests/support/gguf-builder.ts';
import { ggufMetadata, ggufTensors } from '../../../../tests/support/tiny-gguf.ts';
import { tinyCheckpoint, tinyNames } from '../../../../tests/support/tiny.ts';
import { buildTokenizer } from '../tokenizer/tokenizer.ts';
import { bytesSource } from './byte-source.ts';
import { openGguf } from './gguf-checkpoint.ts';

describe('a checkpoint written as GGUF', () => {
  test.each(tinyNames)('%s has the same shape and numbers as its safetensors', async (name) => {
    const original = await tinyCheckpoint(name);
    const file = buildGguf(ggufMetadata(original.config), await ggufTensors(original));
    const opened = await openGguf(bytesSource(file.bytes), { digest: 'abc' });
    expect(opened.config).toEqual(original.config);
    expect(opened.digest).toBe('abc');
    expect([...opened.tensors.keys()].sort()).toEqual([...original.tensors.keys()].sort());
    for (const [tensor, { shape }] of original.tensors) {
      expect(opened.tensors.get(tensor)!.shape).toEqual(shape);
      expect(await opened.read(tensor)).toEqual(await original.read(tensor));
    }
  });
});

test('a reply of a GGUF model ends where its turn, its message or its text does', async () => {
  const tiny = await tinyCheckpoint('llama-tied');
  const metadata = ggufMetadata(tiny.config)
    .set('tokenizer.ggml.eot_token_id', { u32: 1 })
    .set('tokenizer.ggml.eom_token_id', { u32: 0 });
  const file = buildGguf(metadata, await ggufTensors(tiny));
  const { endOfTurn, ends } = await buildTokenizer(
    (await openGguf(bytesSource(file.bytes))).tokenizer,
  );
  expect(endOfTurn).toBe(1);
  expect([...ends].sort()).toEqual([0, 1, 2]);
});

describe('a GGUF model this project cannot compute is refused', () => {
  test.each<[string, string, GgufEntry, string]>([
    ['another architecture', 'general.architecture', { text: 'mamba' }, 'weights/unsupported'],
    ['scaled rotation', 'llama.rope.scaling.type', { text: 'yarn' }, 'weights/unsupported'],
    ['experts', 'llama.expert_count', { u32: 8 }, 'weights/unsupported'],
    ['partial rotation', 'llama.rope.dimension_count', { u32: 4 }, 'weights/unsupported'],
    ['a width of another type', 'llama.embedding_length', { text: '32' }, 'weights/metadata'],
    ['another width', 'llama.embedding_length', { u32: 64 }, 'weights/inconsistent'],
    ['no heads', 'llama.attention.head_count', { u32: 0 }, 'weights/inconsistent'],
    ['more layers than tensors', 'llama.block_count', { u32: 3 }, 'weights/missing-tensor'],
    ['fewer layers than tensors', 'llama.block_count', { u32: 1 }, 'weights/unknown-tensor'],
    ['a rotation base of zero', 'llama.rope.freq_base', { f32: 0 }, 'weights/inconsistent'],
    ['a rotation base of no number', 'llama.rope.freq_base', { f32: NaN }, 'weights/inconsistent'],
    ['no number of experts', 'llama.expert_count', { f32: NaN }, 'weights/unsupported'],
    ['fewer than no experts', 'llama.expert_count', { f32: -1 }, 'weights/unsupported'],
    ['no number of layers', 'llama.block_count', { f32: NaN }, 'weights/inconsistent'],
    ['layers without end', 'llama.block_count', { f32: Infinity }, 'weights/inconsistent'],
    ['a width below zero', 'llama.attention.key_length', { f32: -8 }, 'weights/inconsistent'],
    [
      'a window of no number',
      'llama.attention.sliding_window',
      { f32: NaN },
      'weights/unsupported',
    ],
    [
      'an end of message past the end',
      'tokenizer.ggml.eom_token_id',
      { u32: 64 },
      'tokenizer/inconsistent',
    ],
    [
      'another kind of tokenizer',
      'tokenizer.ggml.model',
      { text: 'llama' },
      'tokenizer/unsupported',
    ],
    ['another pre-tokenizer', 'tokenizer.ggml.pre', { text: 'tekken' }, 'tokenizer/unsupported'],
    [
      'an end token past the end',
      'tokenizer.ggml.eos_token_id',
      { u32: 64 },
      'tokenizer/inconsistent',
    ],
    ['too few token types', 'tokenizer.ggml.token_type', { i32s: [1] }, 'tokenizer/inconsistent'],
    ['a merge of one part', 'tokenizer.ggml.merges', { texts: ['ab'] }, 'tokenizer/inconsistent'],
  ])('%s', async (_, key, value, code) => {
    const tiny = await tinyCheckpoint('llama-tied');
    const metadata = ggufMetadata(tiny.config).set(key, value);
    const file = buildGguf(metadata, await ggufTensors(tiny));
    await expect(openGguf(bytesSource(file.bytes))).rejects.toMatchObject({ code });
  });

  test('a tensor of no known part', async () => {
    const tiny = await tinyCheckpoint('llama-tied');
    const extra = { name: 'blk.0.ssm_a.weight', shape: [2], type: 0, bytes: new Uint8Array(8) };
    const file = buildGguf(ggufMetadata(tiny.config), [...(await ggufTensors(tiny)), extra]);
    await expect(openGguf(bytesSource(file.bytes))).rejects.toMatchObject({
      code: 'weights/unknown-tensor',
    });
  });

  test('a quantised bias whose rows would have to change places', async () => {
    const tiny = await tinyCheckpoint('llama-untied-biased');
    const [tensors, q8] = [await ggufTensors(tiny), { type: 8, bytes: new Uint8Array(34) }];
    const quantised = tensors.map((t) => (/attn_q.bias/.test(t.name) ? { ...t, ...q8 } : t));
    const file = buildGguf(ggufMetadata(tiny.config), quantised);
    await expect(openGguf(bytesSource(file.bytes))).rejects.toMatchObject({
      code: 'weights/unsupported',
    });
  });

  test('a vocabulary with more tokens than the embedding has rows', async () => {
    const tiny = await tinyCheckpoint('llama-tied');
    const metadata = ggufMetadata({ ...tiny.config, vocab: 65 });
    const file = buildGguf(metadata, await ggufTensors(tiny));
    await expect(openGguf(bytesSource(file.bytes))).rejects.toMatchObject({
      code: 'weights/inconsistent',
    });
  });
});
