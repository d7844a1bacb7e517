import { expect, test } from 'vitest';
import { learningTable, missingRows, settingsOf } from './learning-rows.ts';
import type { LearningRow } from './learning-rows.ts';

test('every case is wanted once, and none that there is', () => {
  const all = missingRows([]);
  expect(new Set(all.map((one) => JSON.stringify(one))).size).toBe(all.length);
  expect(all).toHaveLength(3 * 3 * 6 * 3 + 3 * 4 * 3);
  expect(all[0]).toEqual({ person: 'cheerful', method: 'dpo', votes: 60, seed: 0 });
  expect(missingRows(all.slice(0, 5))).toEqual(all.slice(5));
});

test('votes are pairs, thumbs or ranked replies', () => {
  const one = { person: 'lists', votes: 20, seed: 1 };
  expect(settingsOf({ ...one, method: 'dpo' })).toMatchObject({ votes: 240, pairs: 20 });
  expect(settingsOf({ ...one, method: 'kto' })).toMatchObject({ votes: 20 });
  expect(settingsOf({ ...one, method: 'ppo' })).toMatchObject({ votes: 20, seed: 1 });
});

test('the table pools seeds over prompts', () => {
  const row = (seed: number, wins: number[]): LearningRow => ({
    ...{ person: 'lists', method: 'dpo', votes: 60, seed, wins },
    ...{ winRate: 0, kl: 0.1 * seed, nllChange: 0.02, ended: 0.5, replyLength: 80 },
    ...{ rewardModelAccuracy: 0.7 },
  });
  const table = learningTable([row(1, [1, 0.5]), row(0, [0.5, 1])]);
  expect(table.trim().split('\n').at(-1)).toBe(
    '| dpo | 60 | lists | 0, 1 | 0.750 [0.750, 0.750] |  | 0.050 | 2.0 % | 0.50 | 80 |',
  );
});
