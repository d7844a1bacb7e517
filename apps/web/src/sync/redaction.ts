// Takes out what identifies a person before anything is sent: e-mail addresses, phone numbers, keys and
// long numbers. What was taken out is shown beside the preview and never leaves the device.
import type { RedactedSpan } from './rows.ts';

interface Rule {
  kind: RedactedSpan['kind'];
  pattern: RegExp;
  /** Finer judgement than a pattern can make. */
  holds?: (match: string) => boolean;
}

const digitsIn = (text: string) => text.replace(/\D/g, '').length;

// Order matters: an address or a key may contain digits that look like a phone number.
const RULES: readonly Rule[] = [
  { kind: 'email', pattern: /[\p{L}\p{N}._%+-]+@[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+/gu },
  {
    kind: 'key',
    pattern: /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g,
  },
  {
    kind: 'key',
    pattern:
      /\b(?:sk|pk|rk|ghp|gho|ghs|glpat|xox[abprs]|AKIA|ASIA|AIza|hf)[-_]?[A-Za-z0-9_-]{12,}/g,
  },
  { kind: 'key', pattern: /\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*/g },
  {
    kind: 'key',
    pattern: /\b[A-Za-z0-9+/_-]{32,}={0,2}/g,
    holds: (match) => /\d/.test(match) && /[a-z]/i.test(match),
  },
  { kind: 'number', pattern: /(?<![\d.+])(?!00)\d(?:[ -]?\d){12,}(?!\d)/g },
  {
    kind: 'phone',
    pattern: /(?<![\d.])(?:\+|00)\d{1,3}[\d ().\/-]{6,18}\d(?!\d)/g,
    holds: (match) => digitsIn(match) >= 8,
  },
  {
    kind: 'phone',
    pattern: /(?<![\d.,])\(?\d{3,4}\)?[ .\/-]\d{3,4}[ .\/-]?\d{3,5}(?![\d.,]*\d)/g,
    holds: (match) => digitsIn(match) >= 9,
  },
  { kind: 'number', pattern: /(?<![\d.])\d(?:[ -]?\d){8,}(?!\d)/g },
];

/** `text` with every find replaced by `[kind]`, and the finds in order of their kinds. */
export function redact(text: string): { text: string; spans: RedactedSpan[] } {
  const spans: RedactedSpan[] = [];
  const redacted = RULES.reduce(
    (rest, { kind, pattern, holds }) =>
      rest.replace(pattern, (original) => {
        if (holds && !holds(original)) return original;
        spans.push({ kind, original });
        return `[${kind}]`;
      }),
    text,
  );
  return { text: redacted, spans };
}
