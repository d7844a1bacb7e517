import { beforeAll, describe, expect, it } from 'vitest';
import { buildTokenizer, Random } from '@rapport/core';
import type { Tokenizer } from '@rapport/core';
import { tinyTokenizer } from '../../../../tests/support/tiny-tokenizer.ts';
import { demonstrationRows, ordinaryText } from './demonstrations.ts';
import type { Row } from './rows.ts';

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await buildTokenizer(tinyTokenizer);
});

const text = (ids: readonly number[]) => tokenizer.decode([...ids], { skipSpecial: false });
const texts = (rows: readonly Row[]) =>
  rows.map(({ prompt, reply }) => [text(prompt), text(reply)]);

describe('rows of demonstrations', () => {
  it('of an instruction with its input end the reply with the end of the turn', () => {
    const rows = demonstrationRows(
      [{ instruction: 'add', input: '1 2', output: '3' }, { instruction: 'no answer' }],
      tokenizer,
    );
    expect(texts(rows)).toEqual([['<turn>user\nadd\n\n1 2<end>\n<turn>assistant\n', '3<end>']]);
  });

  it('write a chain of thought before the answer', () => {
    const line = { instruction: 'add 1 2', reasoning: '1 and 2', output: '3' };
    expect(texts(demonstrationRows([line], tokenizer))[0]![1]).toBe('1 and 2\n\n3<end>');
  });

  it('of a chat are one for each turn of the assistant, with everything before it', () => {
    const messages = [
      { role: 'system', content: 'be short' },
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'b' },
      { role: 'user', content: 'c' },
      { role: 'assistant', content: 'd' },
    ] as const;
    const rows = texts(demonstrationRows([{ messages }], tokenizer));
    const first = '<turn>system\nbe short<end>\n<turn>user\na<end>\n<turn>assistant\n';
    expect(rows).toEqual([
      [first, 'b<end>'],
      [`${first}b<end>\n<turn>user\nc<end>\n<turn>assistant\n`, 'd<end>'],
    ]);
    const split = { prompt: messages.slice(0, 4), completion: messages.slice(4) };
    expect(texts(demonstrationRows([split], tokenizer))).toEqual(rows);
  });

  it('with shots put other demonstrations first, the same from one seed, never the row itself', () => {
    const lines = ['a', 'b', 'c', 'd'].map((x) => ({ instruction: x, output: `${x}${x}` }));
    const shot = (seed: number) =>
      texts(demonstrationRows(lines, tokenizer, { shots: 2, random: new Random(seed) }));
    const rows = shot(1);
    expect(shot(1)).toEqual(rows);
    rows.forEach(([prompt, reply], i) => {
      const own = 'abcd'[i]!;
      expect(reply).toBe(`${own}${own}<end>`);
      expect(prompt!.split('<turn>user\n')).toHaveLength(4);
      expect(prompt!.endsWith(`<turn>user\n${own}<end>\n<turn>assistant\n`)).toBe(true);
      expect(prompt!.slice(0, -`${own}<end>\n<turn>assistant\n`.length)).not.toContain(own + own);
    });
  });

  it('leaves out what is too long', () => {
    const lines = ['b', 'b'.repeat(40)].map((output) => ({ instruction: 'a', output }));
    expect(demonstrationRows(lines, tokenizer, { longest: 30 })).toHaveLength(1);
  });

  it('refuses a template under which the prompt does not begin the whole', async () => {
    const forgetful = await buildTokenizer({
      ...tinyTokenizer,
      tokenizerConfig: {
        ...(tinyTokenizer.tokenizerConfig as object),
        chat_template:
          '{% for m in messages %}<turn>{{ m.content }}<end>{% endfor %}{% if add_generation_prompt %}<turn>assistant\n{% endif %}',
      },
    });
    expect(() => demonstrationRows([{ instruction: 'a', output: 'b' }], forgetful)).toThrow(
      expect.objectContaining({ code: 'train/not-a-prefix' }),
    );
  });
});

describe('ordinary text', () => {
  const lines = Array.from({ length: 9 }, (_, i) => ({
    instruction: `question ${i}`,
    output: `answer ${i} has words`,
  }));
  const number = (ids: readonly number[]) => Number(/\d/.exec(text(ids))![0]);

  it('is mixed in as documents for two thirds, but at most so many; the others are kept apart', () => {
    const kept = (mixed: number) => {
      const { text: documents, heldOutText } = ordinaryText(lines, tokenizer, mixed);
      const whole = documents.map(({ prompt, reply }) => [...prompt, ...reply]);
      return [whole.map(number), heldOutText.map(({ reply }) => number(reply))];
    };
    expect(kept(64)).toEqual([
      [1, 2, 4, 5, 7, 8],
      [0, 3, 6],
    ]);
    expect(kept(2)).toEqual([
      [1, 2],
      [0, 3, 6, 4, 5, 7, 8],
    ]);
  });
});
