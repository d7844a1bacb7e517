import { expect, test } from 'vitest';
import { readArguments } from './arguments.mjs';

test('without flags and environment there are defaults', () => {
  expect(readArguments([], {})).toEqual({
    port: 8787,
    host: 'localhost',
    dataFolder: '.rapport',
    help: false,
  });
});

test('a flag wins over the environment', () => {
  const env = { RAPPORT_PORT: '1', RAPPORT_HOST: 'a', RAPPORT_DATA: 'b', RAPPORT_MODEL: 'c' };
  const fromEnv = { port: 1, host: 'a', dataFolder: 'b', modelSpec: 'c', help: false };
  expect(readArguments([], env)).toEqual(fromEnv);
  expect(readArguments(['--port', '2', '--model=d'], env)).toEqual({
    ...fromEnv,
    port: 2,
    modelSpec: 'd',
  });
});

test.each([
  [['--prot', '1']],
  [['--port', 'x']],
  [['--port', '65536']],
  [['--port', '-1']],
  [['x']],
  [['--port', '']],
  [['--host', '']],
  [['--data=']],
  [['--model', '']],
])('wrong usage %j is refused', (args) => {
  expect(() => readArguments(args, {})).toThrow(
    expect.objectContaining({ code: 'start/usage', remedy: expect.stringContaining('--help') }),
  );
});
