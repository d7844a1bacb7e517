import { expect, test } from 'vitest';
import { missingRow, rowOf, table } from './rows.ts';

const subject = { suite: 's', workload: 'w', engine: 'e' };
const what = { ...subject, metric: 'time', unit: 'ms' };

test('the median of an odd number of runs is the middle one, in any order', () => {
  expect(rowOf(what, [9, 1, 5])).toEqual({ ...what, median: 5, low: 1, high: 9, runs: 3 });
});

test('the median of an even number of runs is the mean of the middle two', () => {
  expect(rowOf(what, [10, 2, 4, 100]).median).toBe(7);
});

test('a row without a figure says why, in one line, and keeps the table whole', () => {
  const row = missingRow(subject, new Error('no adapter | here\nstack'));
  expect(row).toMatchObject({ median: null, runs: 0, note: 'no adapter | here' });
  const lines = table([rowOf(what, [1]), row]).split('\n');
  expect(lines[3]).toBe('| w | e | not measured: no adapter \\| here |  |  |  |  |  |');
  for (const line of lines) expect(line.split(/(?<!\\)\|/)).toHaveLength(10);
});
