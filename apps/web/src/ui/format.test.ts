import { expect, test } from 'vitest';
import { formatBytes, formatDuration } from './format.ts';

test('bytes are shown in the unit a person would choose', () => {
  expect(formatBytes(98_362_432, 'en')).toBe('98.4 MB');
  expect(formatBytes(512, 'en')).toBe('512 byte');
  expect(formatBytes(0, 'en')).toBe('0 byte');
  expect(formatBytes(538_000_000, 'en')).toBe('538 MB');
});

test('a duration is rounded up', () => {
  expect(formatDuration(41.2, 'en')).toBe('42 sec');
  expect(formatDuration(125, 'en')).toBe('3 min');
});
