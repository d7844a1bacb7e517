import { expect, test } from 'vitest';
import { RapportError } from '@rapport/core';
import { en } from './en.ts';
import { explain, explainNote } from './explain.ts';
import { zh } from './zh.ts';

test('a full disk is named however deep Dexie wraps it', () => {
  const full = new DOMException('', 'QuotaExceededError');
  const wrapped = Object.assign(new Error('aborted'), { name: 'AbortError', inner: full });
  expect(explain(wrapped, en)).toBe(en.noRoom);
  expect(explain(new RapportError('a/b', 'x', 'y', { cause: wrapped }), en)).toBe(en.noRoom);
});

test('other errors say what happened and what to do', () => {
  expect(explain(new RapportError('a/b', 'It broke.', 'Mend it.'), en)).toBe('It broke. Mend it.');
  expect(explain(new TypeError('x is null'), en)).toBe('Something went wrong. x is null');
});

test.each(['runtime/out-of-memory', 'runtime/unsupported', 'workers/unexpected'])(
  'what computing throws is told in Chinese: %s',
  (code) => {
    const told = explain(new RapportError(code, 'It broke.', 'Mend it.'), zh);
    expect(told).toMatch(/^[^a-zA-Z]+$/);
  },
);

test('an error that was written down is told in the language of the person who reads it', () => {
  const note = { code: 'weights/truncated', message: 'It ends early.', remedy: 'Fetch it again.' };
  expect(explainNote(note, en)).toBe('It ends early. Fetch it again.');
  expect(explainNote(note, zh)).toBe(zh.errors['weights']);
  const exact = { ...note, code: 'generation/too-long' };
  expect(explainNote(exact, zh)).toBe(zh.errors['generation/too-long']);
  expect(explainNote({ message: 'x is null', remedy: '' }, zh)).toBe(`${zh.unexpected} x is null`);
});
