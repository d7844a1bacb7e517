import { describe, expect, test } from 'vitest';
import type { Engine, Verdict } from './inference.ts';
import { firstThatOpens, waysOf, type Wanted, type Way } from './ways.ts';

const found = (engine: Engine, ...wrong: Engine[]): Verdict => ({
  ...{ engine, ms: { [engine]: 2 }, wrong },
  ...{ calm: true, whole: true, tookMs: 300 },
});

const ways = (wanted: Partial<Wanted>, best: Engine = 'webgpu') =>
  waysOf({ choice: 'auto', quantised: true, ...wanted }, async () => found(best));

describe('the ways to compute', () => {
  test('begin with the fastest, then our own kernels, then fp32', async () => {
    expect(await ways({})).toEqual([
      { engine: 'webgpu', reason: 'fastest', verdict: found('webgpu') },
      { engine: 'simd', reason: 'fell-back' },
      { engine: 'wasm', reason: 'fell-back' },
    ]);
    const engines = async (best: Engine) => (await ways({}, best)).map(({ engine }) => engine);
    expect(await engines('simd')).toEqual(['simd', 'wasm']);
    expect(await engines('wasm')).toEqual(['wasm', 'simd']);
  });

  test('leave out what computes wrong, and say so', async () => {
    const on = (wanted: Partial<Wanted>, ...verdict: Parameters<typeof found>) =>
      waysOf({ choice: 'auto', quantised: true, ...wanted }, async () => found(...verdict));
    const [best, ...others] = await on({}, 'wasm', 'simd');
    expect(best).toMatchObject({ engine: 'wasm', reason: 'computes-right' });
    expect(others).toEqual([]);
    const kept = { verdict: found('webgpu', 'simd') };
    for (const wanted of [kept, { ...kept, afterCrash: true }, { ...kept, deviceLost: true }]) {
      const engines = (await on(wanted, 'simd')).map(({ engine }) => engine);
      expect(engines).not.toContain('simd');
      expect(engines.at(-1)).toBe('wasm');
    }
  });

  test('are not called the fastest where time was up before all were tried', async () => {
    const cutOff = { ...found('simd'), whole: false };
    const [best] = await waysOf({ choice: 'auto', quantised: true }, async () => cutOff);
    expect(best!.reason).toBe('not-compared');
  });

  test('need no trial where an earlier one, the person or the weights decide', async () => {
    const none = () => Promise.reject(new Error('no trial is needed'));
    const first = async (wanted: Partial<Wanted>) =>
      (await waysOf({ choice: 'auto', quantised: true, ...wanted }, none)).length;
    expect(await first({ verdict: found('simd') })).toBe(2);
    expect(await first({ choice: 'webgpu' })).toBe(1);
    expect(await first({ quantised: false })).toBe(1);
  });

  test('after a crash are small ones of the processor, whatever was chosen', async () => {
    const least = { small: true, reason: 'after-crash' };
    expect(await ways({ afterCrash: true })).toEqual([
      { engine: 'simd', ...least },
      { engine: 'wasm', ...least },
    ]);
    const unquantised = { afterCrash: true, quantised: false } as const;
    expect(await ways(unquantised)).toEqual([{ engine: 'wasm', ...least }]);
    expect(await ways({ ...unquantised, choice: 'webgpu' })).toEqual([
      { engine: 'wasm', ...least },
    ]);
  });

  test('without the lost device are those of the processor, whatever was chosen', async () => {
    const reason = 'device-lost';
    const lost = { deviceLost: true, choice: 'webgpu' } as const;
    expect(await ways(lost)).toEqual([
      { engine: 'simd', reason },
      { engine: 'wasm', reason },
    ]);
    expect(await ways({ ...lost, quantised: false })).toEqual([{ engine: 'wasm', reason }]);
  });
});

describe('a model', () => {
  const all: Way[] = [
    { engine: 'webgpu', reason: 'fastest' },
    { engine: 'simd', reason: 'fell-back' },
    { engine: 'wasm', reason: 'fell-back' },
  ];
  let disposed: Engine[];

  /** Opens it where the engines of `broken` fail to load it, and those of `missing` to start. */
  const opened = (broken: Engine[], missing: Engine[] = []) => {
    disposed = [];
    return firstThatOpens(
      all,
      async ({ engine }) => {
        if (missing.includes(engine)) throw new Error(`no ${engine}`);
        return { runtime: { dispose: async () => void disposed.push(engine) } };
      },
      async ({ runtime }) => {
        const engine = all[disposed.length + missing.length]!.engine;
        if (broken.includes(engine)) throw new Error(`${engine} has no memory`);
        return [engine, runtime];
      },
    );
  };

  test('is opened on the best way, of which nothing is disposed', async () => {
    expect((await opened([])).way).toBe(all[0]);
    expect(disposed).toEqual([]);
  });

  test('is opened on the next way where one fails to load it, which is disposed of', async () => {
    expect((await opened(['webgpu', 'simd'])).way).toBe(all[2]);
    expect(disposed).toEqual(['webgpu', 'simd']);
  });

  test('is opened on the next way where one does not start', async () => {
    expect((await opened([], ['webgpu'])).way).toBe(all[1]);
  });

  test('that no way opens fails as on the last one, and leaves nothing behind', async () => {
    await expect(opened(['webgpu', 'simd', 'wasm'])).rejects.toThrow('wasm has no memory');
    expect(disposed).toEqual(['webgpu', 'simd', 'wasm']);
  });
});
