import { expect, test } from 'vitest';
import { BASE, isStale, wantedRelease, type ChannelFacts } from './release-rules.ts';

const channel: ChannelFacts = {
  stable: 'r1',
  candidate: { release: 'r2', percent: 25 },
  blocked: [],
  expires: 1000,
};
const none = new Set<string>();

test('the candidate goes to its share of devices, stable to the others', () => {
  expect(wantedRelease(channel, 0.2499, none)).toBe('r2');
  expect(wantedRelease(channel, 0.25, none)).toBe('r1');
  const { candidate: _, ...stableOnly } = channel;
  expect(wantedRelease(stableOnly, 0, none)).toBe('r1');
});

test('a blocked release is left: for stable, or for the bare base', () => {
  expect(wantedRelease({ ...channel, blocked: ['r2'] }, 0, none)).toBe('r1');
  expect(wantedRelease({ ...channel, blocked: ['r1', 'r2'] }, 0, none)).toBe(BASE);
});

test('a release that failed here is not tried again', () => {
  expect(wantedRelease(channel, 0, new Set(['r2']))).toBe('r1');
  expect(wantedRelease(channel, 0.9, new Set(['r1']))).toBe(BASE);
  expect(wantedRelease(channel, 0.9, new Set(['r1']), 'r0')).toBe('r0');
  expect(wantedRelease({ ...channel, blocked: ['r0'] }, 0.9, new Set(['r1']), 'r0')).toBe(BASE);
});

test('a channel is stale from the moment it expires', () => {
  expect(isStale(channel, 999)).toBe(false);
  expect(isStale(channel, 1000)).toBe(true);
});
