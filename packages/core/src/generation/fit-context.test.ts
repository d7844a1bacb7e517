import { describe, expect, test } from 'vitest';
import type { ChatMessage, Tokenizer } from '../tokenizer/tokenizer.ts';
import { fitContext } from './fit-context.ts';

/** One token per letter, and one per message. */
const tokenizer = {
  encodeChat: (messages: readonly ChatMessage[]) =>
    [...messages.map(({ content }) => `${content}|`).join('')].map((c) => c.charCodeAt(0)),
} as unknown as Tokenizer;

const textOf = ({ tokens }: { tokens: number[] }) => String.fromCharCode(...tokens);
const system: ChatMessage = { role: 'system', content: 'SYS' };
const user = (content: string): ChatMessage => ({ role: 'user', content });
const assistant = (content: string): ChatMessage => ({ role: 'assistant', content });

/** Turns of ten tokens: `a0123|bc|`. */
const turns = (count: number): ChatMessage[] =>
  Array.from({ length: count }, (_, i) => [user(`u${i}xxx`.slice(0, 5)), assistant('yyy')]).flat();

describe('a conversation that is longer than the context', () => {
  test('is read whole as long as it fits with room for the reply', () => {
    const messages = [system, ...turns(3), user('now')];
    const prompt = fitContext(tokenizer, messages, { context: 48, replyTokens: 10 });
    expect(prompt.droppedTurns).toBe(0);
    expect(prompt.tokens.length).toBe(38);
  });

  test('loses its oldest turns whole, never its system message', () => {
    const messages = [system, ...turns(3), user('now')];
    const prompt = fitContext(tokenizer, messages, { context: 47, replyTokens: 10 });
    expect(textOf(prompt)).toBe('SYS|u2xxx|yyy|now|');
    expect(prompt.droppedTurns).toBe(2);
  });

  test('leaves a quarter of the context to the reply, however long it may be', () => {
    const messages = [...turns(3), user('now')];
    const settings = { context: 40, replyTokens: 10_000 };
    const prompt = fitContext(tokenizer, messages, settings);
    expect(prompt.tokens.length).toBeLessThanOrEqual(30);
    expect(prompt.droppedTurns).toBe(1);
  });

  test('begins at the same turn for several replies, so that its past need not be read again', () => {
    const starts = Array.from({ length: 40 }, (_, i) => {
      const messages = [system, ...turns(i + 1), user('now')];
      const { tokens, droppedTurns } = fitContext(tokenizer, messages, {
        context: 100,
        replyTokens: 10,
      });
      expect(tokens.length).toBeLessThanOrEqual(90);
      return droppedTurns;
    });
    expect(starts).toEqual([...starts].sort((a, b) => a - b));
    expect(new Set(starts).size).toBeLessThan(20);
  });

  test('keeps a last message that leaves little room', () => {
    const messages = [system, ...turns(2), user('x'.repeat(40))];
    const prompt = fitContext(tokenizer, messages, { context: 48, replyTokens: 10 });
    expect(prompt.droppedTurns).toBe(2);
    expect(textOf(prompt)).toBe(`SYS|${'x'.repeat(40)}|`);
  });

  test('is a named error when the last message alone is too long', () => {
    const messages = [system, ...turns(2), user('x'.repeat(48))];
    expect(() => fitContext(tokenizer, messages, { context: 48, replyTokens: 10 })).toThrowError(
      expect.objectContaining({ code: 'generation/too-long' }),
    );
  });
});
