import { expect, test } from 'vitest';
import { uuidv7 } from './uuid.ts';

test('an identifier carries its time, its version and its variant', () => {
  const id = uuidv7(4_000_000_000_000);
  expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(parseInt(id.replaceAll('-', '').slice(0, 12), 16)).toBe(4_000_000_000_000);
});

test('identifiers sort in the order they were made, within a millisecond and when the clock steps back', () => {
  const ids = Array.from({ length: 10_000 }, () => uuidv7(5_000_000_000_000));
  ids.push(uuidv7(1));
  expect([...ids].sort()).toEqual(ids);
  expect(new Set(ids).size).toBe(ids.length);
});
