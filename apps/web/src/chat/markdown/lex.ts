// Markdown to a tree of tokens by marked's lexer. Nothing becomes HTML here or later: components render
// the tree, raw HTML is shown as the text it is, and only http(s) links are links.
import { Lexer, type Token } from 'marked';

export type { Token, Tokens } from 'marked';

/** The block tokens of `text` (GitHub flavour). Never throws: what marked cannot read is a paragraph. */
export function lex(text: string): Token[] {
  try {
    return new Lexer({ gfm: true, breaks: true }).lex(text);
  } catch {
    return [{ type: 'text', raw: text, text }];
  }
}

/** The address when a person may be sent there, undefined otherwise. */
export function safeHref(href: string): string | undefined {
  try {
    const url = new URL(href);
    return url.protocol === 'https:' || url.protocol === 'http:' ? url.href : undefined;
  } catch {
    return undefined;
  }
}

const ENTITIES: Record<string, string> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
  nbsp: '\u00a0',
};

/** Undoes the few character references that people write; others stay as written. */
export function plainText(text: string): string {
  return text.replace(
    /&(?:#(\d{1,6})|#x([0-9a-f]{1,6})|([a-z]{2,6}));/gi,
    (whole, dec, hex, name) => {
      if (name) return ENTITIES[name] ?? whole;
      const code = dec ? parseInt(dec, 10) : parseInt(hex, 16);
      return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
    },
  );
}
