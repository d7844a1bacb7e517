import { beforeAll, expect, test } from 'vitest';
import { buildTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { Stream } from './stream.ts';

/** The first ends a turn; the others are the two bytes of "é". */
const tokens = ['<end>', 'Ã', '©'];
const [END, FIRST, SECOND] = [0, 1, 2];
const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 1 };

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await buildTokenizer({
    tokenizerJson: {
      model: {
        type: 'BPE',
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        merges: [],
      },
      added_tokens: [{ id: END, content: '<end>', special: true }],
      pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false },
      decoder: { type: 'ByteLevel' },
    },
    tokenizerConfig: { eos_token: '<end>' },
  });
});

/** A reply that says `ids` after `prefix`. */
function say(ids: number[], maxTokens: number, prefix: number[] = []) {
  const stream = new Stream({ ...GREEDY, maxTokens }, tokenizer, prefix, 100);
  for (const id of ids) stream.take(Float32Array.from(tokens, (_, i) => (i === id ? 1 : 0)));
  return stream.reply({ prefillMs: 0, decodeMs: 0 });
}

test('a character that the limit cuts in two comes whole when the reply goes on', () => {
  const cut = say([FIRST], 1);
  expect(cut).toMatchObject({ tokens: [FIRST], text: '', finishReason: 'length' });
  const rest = say([SECOND, END], 5, cut.tokens);
  expect(rest).toMatchObject({ tokens: [SECOND, END], text: 'é', finishReason: 'stop' });
});

test('a character that is left unfinished at the end of a turn is shown as broken', () => {
  expect(say([FIRST, END], 5)).toMatchObject({ text: '\uFFFD', finishReason: 'stop' });
});
