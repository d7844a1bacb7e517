// The tokenizer of the tiny checkpoints, in Node and in browsers.
import type { TokenizerSpec } from '@rapport/core';

/** 64 tokens: three special ones, then single letters; what is not among them is dropped. */
const tokens = [
  '<pad>',
  '<turn>',
  '<end>',
  ...'\u0120\u010aabcdefghijklmnopqrstuvwxyz0123456789.,!?:-\'"ABCDEFGHIJKLMNO',
];

/** A tokenizer for the tiny checkpoints; 2 ends a turn. */
export const tinyTokenizer: TokenizerSpec = {
  tokenizerJson: {
    model: {
      type: 'BPE',
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: [],
    },
    added_tokens: tokens.slice(0, 3).map((content, id) => ({ id, content, special: true })),
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false },
    decoder: { type: 'ByteLevel' },
  },
  tokenizerConfig: {
    eos_token: '<end>',
    chat_template:
      '{% for m in messages %}<turn>{{ m.role }}\n{{ m.content }}<end>\n{% endfor %}{% if add_generation_prompt %}<turn>assistant\n{% endif %}',
  },
};
