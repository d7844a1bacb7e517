import { expect, test } from 'vitest';
import { redact } from './redaction.ts';

test.each([
  ['Write to ana.lópez+x@mail.example.org today', 'Write to [email] today'],
  ['Call +49 170 1234567 or (555) 123-4567.', 'Call [phone] or [phone].'],
  ['Ring 138-1234-5678', 'Ring [phone]'],
  ['My key is sk-abcDEF1234567890abcd, keep it', 'My key is [key], keep it'],
  ['token ghp_16C7e42F292c6912E7710c838347Ae178B4a', 'token [key]'],
  ['card 4111 1111 1111 1111 ok', 'card [number] ok'],
  ['account 123456789012', 'account [number]'],
])('%s → %s', (text, expected) => {
  expect(redact(text).text).toBe(expected);
});

test.each([
  'It was 2024 and 1,000,000 people came.',
  'pi is 3.14159265358979 and e is 2.71828',
  'On 2024-11-03 at 10:30:15 we met.',
  'The quick brown fox jumps over incomprehensibilities-and-more-words',
  'Add 250 g flour, 100 ml milk, 3 eggs.',
])('nothing is taken out of: %s', (text) => {
  expect(redact(text)).toEqual({ text, spans: [] });
});

test('what was taken out is told, in full', () => {
  expect(redact('a@b.de and +1 202 555 0173').spans).toEqual([
    { kind: 'email', original: 'a@b.de' },
    { kind: 'phone', original: '+1 202 555 0173' },
  ]);
});
