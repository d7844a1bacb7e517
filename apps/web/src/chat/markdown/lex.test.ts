import { expect, test } from 'vitest';
import { lex, plainText, safeHref } from './lex.ts';

test('only http and https addresses are links', () => {
  expect(safeHref('https://example.org/a')).toBe('https://example.org/a');
  for (const href of ['javascript:alert(1)', 'data:text/html,x', '/relative', 'file:///etc', '']) {
    expect(safeHref(href)).toBeUndefined();
  }
});

test('raw HTML is a token of its own and keeps its text', () => {
  const [token] = lex('<img src=x onerror=alert(1)>\n');
  expect(token).toMatchObject({ type: 'html', text: expect.stringContaining('<img') });
});

test('an unfinished code fence is already code while it streams', () => {
  expect(lex('Look:\n\n```ts\nconst a = 1').at(-1)).toMatchObject({
    type: 'code',
    lang: 'ts',
    text: 'const a = 1',
  });
});

test('character references become characters, unknown ones stay', () => {
  expect(plainText('a &lt; b &amp;&amp; c &#39;d&#x27; &bogus; &#0;')).toBe(
    "a < b && c 'd' &bogus; &#0;",
  );
});
