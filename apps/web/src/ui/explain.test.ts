import { expect, test } from 'vitest';
import { RapportError } from '@rapport/core';
import { en } from './en.ts';
import { explain } from './explain.ts';

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
