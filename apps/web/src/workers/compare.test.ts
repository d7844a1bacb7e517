import { expect, test } from 'vitest';
import { compare } from './compare.ts';

test('margins are per token, and text that no pair names measures what training cost', () => {
  const rows = [{}, {}, {}];
  const pairs = [
    { better: 0, worse: 1 },
    { better: 2, worse: 1 },
  ];
  const found = compare(
    { rows, pairs },
    { lengths: [2, 4, 1, 10], before: [-4, -4, -3, -20], after: [-1, -8, -3, -22] },
  );
  // Per token: before −2, −1, −3; after −0.5, −2, −3.
  expect(found).toMatchObject({ pairs: 2, rightBefore: 0, rightAfter: 1, gained: 2 });
  expect(found.marginBefore).toBeCloseTo((-1 - 2) / 2);
  expect(found.marginAfter).toBeCloseTo((1.5 - 1) / 2);
  expect(found.nllChange).toBeCloseTo(0.1);
});
