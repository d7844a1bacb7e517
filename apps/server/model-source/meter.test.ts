import { expect, test } from 'vitest';
import { createMeter, describeProgress } from './meter.mjs';

function screen(isTTY: boolean) {
  const written: string[] = [];
  const stream = { isTTY, columns: 120, write: (text: string) => written.push(text) };
  return { written, meter: createMeter(stream as unknown as NodeJS.WriteStream) };
}

test('a line shows bar, bytes, speed and time left', () => {
  expect(describeProgress('model', 25e6, 100e6, 5e6)).toBe(
    '[#####...............] 25%  25.0 MB of 100.0 MB  5.0 MB/s  15 s left  model',
  );
  expect(describeProgress('model', 0, 100e6, 0.5e6)).toContain('4 min left');
});

test('without a known size there are bytes and speed', () => {
  expect(describeProgress('model', 25e6, undefined, 5e6)).toBe('model 25.0 MB  5.0 MB/s');
});

test('on a terminal one line is written over and over', () => {
  const { written, meter } = screen(true);
  meter.progress('model', 10, 100);
  meter.progress('model', 100, 100);
  expect(written[0]).toMatch(/^\r\[/);
  expect(written.at(-1)).toBe('\n');
});

test('elsewhere there is no bar: one line at the start, one at the end', () => {
  const { written, meter } = screen(false);
  for (let bytes = 0; bytes <= 100; bytes++) meter.progress('model', bytes, 100);
  expect(written.length).toBe(2);
  expect(written.join('')).not.toContain('\r');
});
