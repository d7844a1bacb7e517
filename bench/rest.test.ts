import { expect, test } from 'vitest';
import { rest } from './rest.ts';

test('waits as long as the cores are busy, and not for ever', async () => {
  const clock = [0, 90, 170, 175];
  let looked = 0;
  await rest(() => clock[looked++]!);
  expect(looked).toBe(4);
  let busy = 0;
  await rest(() => (busy += 100), 300);
  expect(busy).toBe(400);
});
