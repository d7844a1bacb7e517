import { describe, expect, test } from 'vitest';
import { lastingTrials, planOf, roomFor, smaller, usualPlan, type Trial } from './plan.ts';

const MB = 1e6;

/** What SmolLM2-135M does on two threads of WASM, measured: tokens and memory in MB. */
const measured: [number, number][] = [
  [32, 883],
  [64, 883],
  [128, 984],
];

function trial(
  backend: Trial['backend'],
  tokenMs: number,
  sizes: [number, number][] = measured,
  more: Partial<Trial> = {},
): Trial {
  const runs = sizes.map(([tokens, heap]) => ({
    tokens,
    ms: tokens * tokenMs,
    heapBytes: heap * MB,
  }));
  return { backend, loadMs: 3000, weightBytes: 325 * MB, runs, full: false, ...more };
}

describe('the plan', () => {
  test('is for the faster backend, whichever was tried first', () => {
    const [slow, fast] = [trial('wasm', 12), trial('webgpu', 2)];
    expect(planOf([slow, fast])).toMatchObject({ backend: 'webgpu', speed: { tokenMs: 2 } });
    expect(planOf([fast, trial('wasm', 1)])!.backend).toBe('wasm');
  });

  test('judges a backend by its best run: the first one prepares', () => {
    const runs = [
      { tokens: 32, ms: 3200, heapBytes: 0 },
      { tokens: 32, ms: 64, heapBytes: 0 },
    ];
    const compiled = { ...trial('webgpu', 1), runs };
    expect(planOf([trial('wasm', 5), compiled])!.backend).toBe('webgpu');
  });

  test('is none where no backend could train', () => {
    expect(planOf([])).toBeUndefined();
    expect(planOf([trial('wasm', 1, [], { full: true })])).toBeUndefined();
  });

  const grown: [number, number][] = [...measured, [256, 1084], [512, 1390]];
  test.each<[string, Trial, number | undefined, number, boolean]>([
    [
      'a fast processor and much memory: all that is of use',
      trial('wasm', 2, grown),
      16,
      1024,
      true,
    ],
    ['memory not told: the 4 GiB of WASM', trial('wasm', 2, grown), undefined, 1024, true],
    [
      'a slow processor: runs of some seconds, but no shorter rows',
      trial('wasm', 40),
      8,
      448,
      true,
    ],
    ['so slow that a full round takes hours', trial('wasm', 400), 8, 448, false],
    ['a device of 4 GB', trial('wasm', 2, grown), 4, 936, false],
    ['a device of half a gigabyte', trial('wasm', 2), 0.5, 112, false],
    [
      'memory that was full at the next run',
      trial('wasm', 2, grown, { full: true }),
      16,
      448,
      false,
    ],
    [
      'too slow for memory to grow',
      trial('wasm', 40, [
        [32, 883],
        [64, 883],
      ]),
      16,
      448,
      false,
    ],
    [
      'the same in a device of 2 GB',
      trial('wasm', 40, [
        [32, 883],
        [64, 883],
      ]),
      2,
      112,
      false,
    ],
    ['a tiny model', trial('wasm', 0.01, [[1024, 17]], { weightBytes: 1 }), 16, 1024, true],
    ['no time at all', trial('wasm', 0, grown), 16, 1024, true],
    ['graphics that bore the largest run', trial('webgpu', 0.5, [[1024, 90]]), 8, 1024, true],
    ['graphics too slow to try more', trial('webgpu', 9, [[256, 90]]), 8, 448, true],
    ['graphics that was full', trial('webgpu', 1, [[256, 90]], { full: true }), 8, 256, false],
    ['graphics in a small device', trial('webgpu', 1, [[1024, 90]]), 4, 1024, false],
  ])('%s', (_, one, deviceGb, budgetTokens, fullRound) => {
    expect(planOf([one], { deviceGb })).toMatchObject({ budgetTokens, fullRound });
  });

  test('where memory is short, layers keep no more than the largest run that fits', () => {
    const kept = (one: Trial, hints = {}) => planOf([one], hints)!.activationBytes;
    const [ample, little] = [{ deviceGb: 16 }, { deviceGb: 3 }];
    expect(kept(trial('wasm', 2, grown), ample)).toBeUndefined();
    expect(kept(trial('webgpu', 2, [[1024, 90]]), ample)).toBeUndefined();
    const { budgetTokens, activationBytes, speed } = planOf([trial('wasm', 2, grown)], little)!;
    // 1.27 MB a token, and rows that are not cut in half to fit.
    expect(budgetTokens).toBeGreaterThan(400);
    expect(activationBytes! / budgetTokens / MB).toBeCloseTo(1.27, 1);
    expect(speed!.tokenMs).toBeGreaterThan(2);
    expect(kept(trial('webgpu', 1, [[256, 90]], { full: true }))).toBe(0);
    expect(kept(trial('wasm', 2, grown), { ...ample, ceilings: { wasm: 224 } })).toBe(0);
    expect(usualPlan('wasm', { ceilings: { wasm: 224 } }).activationBytes).toBe(0);
  });

  test('goes no higher than what was too much before, and offers no full round then', () => {
    const hints = { ceilings: { wasm: 224 } };
    expect(planOf([trial('wasm', 2, grown)], hints)).toMatchObject({
      budgetTokens: 224,
      fullRound: false,
    });
    expect(planOf([trial('webgpu', 1, [[1024, 90]])], hints)!.budgetTokens).toBe(1024);
    expect(usualPlan('wasm', hints)).toMatchObject({ budgetTokens: 224, fullRound: false });
  });
});

test('where nothing was measured, the plan is the usual one and tells no speed', () => {
  const plan = { backend: 'wasm', budgetTokens: 448, fullRound: true };
  expect(usualPlan('wasm', {})).toEqual(plan);
  expect(usualPlan('wasm', { deviceGb: 4 })).toEqual({ ...plan, fullRound: false });
});

test('half of the budget halves rows and pairs; at the least it stays', () => {
  expect(roomFor(448)).toEqual({ budgetTokens: 448, longestRow: 448, longestPrompt: 256 });
  expect(roomFor(1024)).toMatchObject({ longestRow: 448, longestPrompt: 256 });
  expect(roomFor(smaller(448))).toMatchObject({ longestRow: 224, longestPrompt: 128 });
  expect(smaller(smaller(smaller(448)))).toBe(112);
});

test('trials hold for a month, for the same backends and the same build', () => {
  const trials = [trial('wasm', 1)];
  const of = { backends: 'wasm', build: 'b' };
  const kept = { ...of, atMs: 5, trials };
  const day = 24 * 3_600_000;
  expect(lastingTrials(kept, of, 5 + 29 * day)).toBe(trials);
  expect(lastingTrials(kept, of, 5 + 31 * day)).toBeUndefined();
  expect(lastingTrials(kept, { ...of, backends: 'wasm,webgpu' }, 6)).toBeUndefined();
  expect(lastingTrials(kept, { ...of, build: 'c' }, 6)).toBeUndefined();
  expect(lastingTrials(undefined, of, 6)).toBeUndefined();
});
