import { expect, test } from 'vitest';
import { RapportError } from '@rapport/core';
import { connect, finish, serve, type Method } from './channel.ts';

interface Counter extends Record<string, Method> {
  count: Method<number, number, string>;
  fail: Method<null, never, void>;
}

function counter() {
  const seen: { aborted: boolean } = { aborted: false };
  const service: Counter = {
    async *count(upTo, signal) {
      for (let i = 1; i <= upTo; i++) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        if (signal.aborted) {
          seen.aborted = true;
          return 'stopped';
        }
        yield i;
      }
      return 'done';
    },

    async *fail() {
      throw new RapportError('room/what', 'It broke.', 'Mend it.');
    },
  };
  const { port1, port2 } = new MessageChannel();
  port1.start();
  port2.start();
  serve(port1, service as Record<string, Method>);
  return { remote: connect<Counter>(port2), seen, close: () => port1.close() };
}

test('a call streams its values and then its result', async () => {
  const { remote, close } = counter();
  const values: number[] = [];
  expect(await finish(remote.count!(3), (value) => values.push(value as number))).toBe('done');
  expect(values).toEqual([1, 2, 3]);
  close();
});

test('two calls at once do not mix', async () => {
  const { remote, close } = counter();
  const a: number[] = [];
  const b: number[] = [];
  await Promise.all([
    finish(remote.count!(4), (value) => a.push(value as number)),
    finish(remote.count!(2), (value) => b.push(value as number)),
  ]);
  expect(a).toEqual([1, 2, 3, 4]);
  expect(b).toEqual([1, 2]);
  close();
});

test('an error keeps its code and remedy', async () => {
  const { remote, close } = counter();
  await expect(finish(remote.fail!(null))).rejects.toMatchObject({
    code: 'room/what',
    message: 'It broke.',
    remedy: 'Mend it.',
  });
  close();
});

test('aborting the signal stops the method and still gives its result', async () => {
  const { remote, close } = counter();
  const controller = new AbortController();
  const run = remote.count!(1000, controller.signal);
  await run.next();
  controller.abort();
  expect(await finish(run)).toBe('stopped');
  close();
});

test('leaving the loop early stops the method', async () => {
  const { remote, seen, close } = counter();
  for await (const value of remote.count!(1000)) if (value === 2) break;
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(seen.aborted).toBe(true);
  close();
});

test('after a crash, calls that run and calls that come fail with its error', async () => {
  const { port1, port2 } = new MessageChannel();
  let crash: (error: Error) => void = () => {};
  const remote = connect<Counter>(port2, (fail) => (crash = fail));
  const running = finish(remote.count!(3));
  const error = new RapportError('workers/crashed', 'It stopped.', 'Reload.');
  await Promise.resolve();
  crash(error);
  await expect(running).rejects.toMatchObject({ code: 'workers/crashed' });
  await expect(finish(remote.count!(3))).rejects.toBe(error);
  port1.close();
});
