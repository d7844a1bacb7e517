import { beforeAll, describe, expect, test } from 'vitest';
import { realCheckpoint } from '../../../../tests/support/checkpoint.ts';
import { tinyCheckpoint } from '../../../../tests/support/tiny.ts';
import chat from '../../../../tests/golden/chat_template_golden.json' with { type: 'json' };
import golden from '../../../../tests/golden/tokenizer_golden.json' with { type: 'json' };
import { buildTokenizer, type ChatMessage, type Tokenizer } from './tokenizer.ts';

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await buildTokenizer((await realCheckpoint()).tokenizer);
});

describe('SmolLM2, built from its GGUF metadata', () => {
  test.each(golden.cases)('encodes and decodes $text as Hugging Face does', (one) => {
    expect(tokenizer.encode(one.text)).toEqual(one.ids);
    expect(tokenizer.decode(one.ids)).toBe(one.decoded);
    expect(tokenizer.decode(one.ids, { skipSpecial: true })).toBe(one.decoded_skip_special);
  });

  test.each(chat.cases)('renders a conversation as Hugging Face does (%#)', (one) => {
    const messages = one.messages as ChatMessage[];
    const prompt = { addGenerationPrompt: true };
    expect(tokenizer.renderChat(messages, prompt)).toBe(one.with_generation_prompt);
    expect(tokenizer.renderChat(messages, { addGenerationPrompt: false })).toBe(one.without);
    expect(tokenizer.encodeChat(messages, prompt)).toEqual(one.ids_with);
  });

  test.each(golden.cases)('streams $text in whole characters', (one) => {
    const stream = tokenizer.decodeStream();
    const pieces = one.ids.map((id) => stream.push(id));
    for (const piece of pieces) expect(piece).not.toContain('\ufffd');
    expect(pieces.join('') + stream.flush()).toBe(one.decoded_skip_special);
  });

  test('a stream cut inside a character says so at its end, not before', () => {
    const stream = tokenizer.decodeStream();
    const [first] = tokenizer.encode('😀');
    expect(stream.push(first!)).toBe('');
    expect(stream.flush()).toBe('\ufffd');
  });

  test('knows its end of turn, its size and itself', async () => {
    expect(tokenizer.endOfTurn).toBe(2);
    expect(tokenizer.vocabSize).toBe(49_152);
    expect(tokenizer.digest).toMatch(/^[0-9a-f]{64}$/);
    const again = await buildTokenizer((await realCheckpoint()).tokenizer);
    expect(again.digest).toBe(tokenizer.digest);
  });

  test('a token outside the vocabulary is no text', () => {
    expect(tokenizer.decode([49_152, 19556, -1])).toBe('Hello');
  });
});

test('the tiny checkpoints have a tokenizer for conversations', async () => {
  const tiny = await buildTokenizer((await tinyCheckpoint('llama-tied')).tokenizer);
  expect(tiny.vocabSize).toBe(64);
  const ids = tiny.encodeChat([{ role: 'user', content: 'Hi, 42!' }], {
    addGenerationPrompt: true,
  });
  expect(tiny.decode(ids)).toBe('<turn>user\nHi, 42!<end>\n<turn>assistant\n');
});
