// What engines read: words that are one token each, so that an engine that takes text only reads as many; and
// prose, to be scored.
import { readFileSync } from 'node:fs';
import type { Tokenizer } from '@rapport/core';
import type { Piece } from './page/engine.ts';

const VOCABULARY = 20_000;

export class Texts {
  readonly #tokenizer: Tokenizer;
  readonly #words: number[];
  #drawn = 0;

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
    this.#words = Array.from({ length: VOCABULARY }, (_, id) => id).filter((id) => {
      const text = tokenizer.decode([id]);
      return /^ [a-z]{3,}$/.test(text) && tokenizer.encode(text).length === 1;
    });
  }

  /** Words that begin unlike any drawn before, so that no engine finds them in its cache. */
  words(count: number): Piece {
    const start = this.#drawn++ * 131;
    return this.#piece(
      Array.from({ length: count }, (_, i) => this.#words[(start + i * 37) % this.#words.length]!),
    );
  }

  /** A message as the chat asks it. */
  prompt(content: string): Piece {
    const messages = [{ role: 'user' as const, content }];
    return this.#piece(this.#tokenizer.encodeChat(messages, { addGenerationPrompt: true }));
  }

  /** The first tokens of ordinary answers. */
  prose(count: number): Piece {
    const file = new URL('../apps/server/trainer/ordinary-text.jsonl', import.meta.url);
    const text = readFileSync(file, 'utf8')
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { output: string }).output)
      .join('\n');
    return this.#piece(this.#tokenizer.encode(text.slice(0, count * 12)).slice(0, count));
  }

  #piece(ids: number[]): Piece {
    return { ids, texts: ids.map((id) => this.#tokenizer.decode([id])) };
  }
}
