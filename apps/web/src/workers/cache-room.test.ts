import { describe, expect, test } from 'vitest';
import { cacheRoom } from './cache-room.ts';

describe('the room for keys and values', () => {
  test('is 120 MB to keep on a usual device, on a large one, and where the browser does not say', () => {
    for (const deviceGb of [4, 8, 32, undefined])
      expect(cacheRoom(deviceGb).cacheBytes).toBe(120e6);
  });

  test('is half of that for numbers of half as many bytes', () => {
    expect(cacheRoom(4, false, 'float16').cacheBytes).toBe(60e6);
    expect(cacheRoom(1, false, 'float16')).toEqual(cacheRoom(1));
  });

  test('shrinks with the device, and leaves one conversation more than what is kept', () => {
    expect(cacheRoom(2)).toEqual({ cacheBytes: 60e6, sequenceBytes: 160e6 });
    expect(cacheRoom(0.5)).toEqual({ cacheBytes: 15e6, sequenceBytes: 40e6 });
  });

  test.each([0.25, 0.5, 1, 2, 4, 8, 32, undefined])(
    'after a crash is a quarter at most on a device of %s GB',
    (deviceGb) => {
      const [usual, small] = [cacheRoom(deviceGb), cacheRoom(deviceGb, true)];
      expect(small.cacheBytes).toBeLessThanOrEqual(usual.cacheBytes / 4);
      expect(small.sequenceBytes).toBeLessThanOrEqual(usual.sequenceBytes / 4);
    },
  );
});
