import { expect, onTestFinished, test, vi } from 'vitest';
import { whenAskedToEnd } from './signals.mjs';

test('a signal that comes twice at once counts once, a later one means now', () => {
  const clock = vi.spyOn(performance, 'now');
  const heard: string[] = [];
  const stopListening = whenAskedToEnd(
    () => heard.push('end'),
    () => heard.push('now'),
  );
  onTestFinished(() => {
    stopListening();
    clock.mockRestore();
  });
  const signal = (name: NodeJS.Signals, atMs: number) => {
    clock.mockReturnValue(atMs);
    (process.listeners(name).at(-1) as () => void)();
    return heard;
  };
  expect(signal('SIGINT', 5_000)).toEqual(['end']);
  expect(signal('SIGINT', 5_040)).toEqual(['end']);
  expect(signal('SIGTERM', 5_999)).toEqual(['end']);
  expect(signal('SIGINT', 6_000)).toEqual(['end', 'now']);
});

test('who stopped listening leaves no listener', () => {
  const before = process.listenerCount('SIGINT');
  whenAskedToEnd(
    () => {},
    () => {},
  )();
  expect(process.listenerCount('SIGINT')).toBe(before);
});
