import { expect, test } from 'vitest';
import { uuidv7 } from './uuid.ts';

test('an identifier has version 7 and its variant', () => {
  expect(uuidv7()).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

test('identifiers sort by time and carry it', () => {
  const early = uuidv7(1_700_000_000_000);
  const late = uuidv7(1_700_000_000_001);
  expect(early < late).toBe(true);
  expect(parseInt(early.replaceAll('-', '').slice(0, 12), 16)).toBe(1_700_000_000_000);
});
