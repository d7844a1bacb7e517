// A run that goes wrong stops by name and returns the last adapter that was good: every method that learns from given
// replies, on the seeded two-layer model. PPO, which samples, is in train.test.ts.
import { beforeAll, describe, expect, it } from 'vitest';
import { float32, Random } from '@rapport/core';
import type { Adapter, Checkpoint, Runtime } from '@rapport/core';
import { nodeRuntime } from '../../../../tests/support/node-runtime.ts';
import { tinyCheckpoint } from '../../../../tests/support/tiny.ts';
import { newAdapter, parametersOf } from './adapter.ts';
import type { CourseState } from './course.ts';
import { dpoDefaults, trainDpo } from './dpo.ts';
import type { DpoRecord } from './dpo.ts';
import { stopFor, tokensSpoken } from './guards.ts';
import type { Limits, Trained } from './guards.ts';
import { ktoDefaults, trainKto } from './kto.ts';
import type { KtoRecord } from './kto.ts';
import { Policy } from './policy.ts';
import { sftDefaults, trainSft } from './sft.ts';
import type { SftRecord } from './sft.ts';

const END = 2;
let checkpoint: Checkpoint;
let runtime: Runtime;

beforeAll(async () => {
  checkpoint = await tinyCheckpoint('llama-tied');
  runtime = await nodeRuntime(checkpoint);
});

interface Course extends Partial<Limits> {
  readonly lrPeak: number;
  readonly steps?: number;
  /** What is liked are replies that end at once. */
  readonly silent?: boolean;
  readonly ptxBalance?: number;
}

/** Eight judged pairs, taught by a method; every step sees all of them. `after`: the adapter after 0, 1, … steps. */
async function teach(
  method: 'dpo' | 'kto' | 'sft',
  { steps = 6, silent = false, ...config }: Course,
) {
  const policy = new Policy(checkpoint, runtime, { endOfTurn: END });
  const random = new Random(5);
  const ids = (count: number) => Array.from({ length: count }, () => 3 + random.integer(60));
  const pairs = Array.from({ length: 8 }, () => {
    const prompt = ids(4);
    const liked = silent ? [END] : [...ids(6), END];
    return [liked, [...ids(9), END]].map((reply) => ({ prompt, reply }));
  });
  const text = await policy.withTrunk(pairs.map(([, disliked]) => disliked!));
  const after = [newAdapter(policy.sites, dpoDefaults, new Random(0))];
  const keeping = {
    save: ({ adapter }: CourseState) => Promise.resolve(void after.push(adapter)),
  };
  const run = async (): Promise<AsyncGenerator<DpoRecord | KtoRecord | SftRecord, Trained>> => {
    if (method === 'dpo') {
      const prepared = [];
      for (const pair of pairs) {
        const rows = await policy.withTrunk(pair);
        const refLogprobs = (await policy.score(rows, null)).map(({ logprobs }) => logprobs);
        prepared.push({ rows, refLogprobs, ranks: [1, 2] });
      }
      const size = { promptsPerStep: 8, minSteps: steps, maxSteps: steps };
      const whole = { ...dpoDefaults, ...size, ...config };
      return trainDpo(policy, prepared, text, whole, undefined, keeping);
    }
    if (method === 'kto') {
      const thumbs = pairs.flatMap((pair) => pair.map((row, i) => ({ ...row, good: i === 0 })));
      const whole = { ...ktoDefaults, batch: 16, minSteps: steps, ...config };
      return trainKto(policy, thumbs, text, whole, undefined, keeping);
    }
    const shown = await policy.withTrunk(pairs.map(([liked]) => liked!));
    const whole = { ...sftDefaults, residualDropout: 0, batch: 8, epochs: steps, ...config };
    return trainSft(policy, shown, whole, { keeping });
  };
  const records = [];
  const training = await run();
  let next = await training.next();
  for (; !next.done; next = await training.next()) records.push(next.value);
  await policy.dispose();
  return { records, after, ...next.value };
}

const numbersOf = (adapter: Adapter | undefined) => adapter && [...parametersOf(adapter)];

describe.each(['dpo', 'kto', 'sft'] as const)('%s', (method) => {
  it('stops at the KL it may have, with the adapter before the update that went too far', async () => {
    const free = await teach(method, { lrPeak: 3, klStop: Infinity, lengthStop: 0 });
    expect([free.records.length, free.stopped]).toEqual([6, undefined]);
    const kls = free.records.map(({ kl }) => kl);
    const highest = Math.max(...kls);
    const worst = kls.indexOf(highest);
    const klStop = (highest + Math.max(...kls.slice(0, worst))) / 2;
    const held = await teach(method, { lrPeak: 3, klStop, lengthStop: 0 });
    const codes = held.records.map(({ stopped }) => stopped?.code);
    expect(codes).toEqual([...new Array<undefined>(worst), 'train/kl']);
    expect(held.stopped).toEqual(held.records.at(-1)!.stopped);
    expect(numbersOf(held.adapter)).toEqual(numbersOf(free.after[worst - 1]));
  });

  it('does not return what its only update made where that went too far', async () => {
    const wild = { lrPeak: 3, klStop: 0.03, steps: 1 };
    const { records, stopped, adapter, after } = await teach(method, wild);
    const course = records.map(({ step, of, stopped: stop }) => [step, of, stop?.code]);
    expect(course).toEqual([
      [1, 1, undefined],
      [1, 1, 'train/kl'],
    ]);
    expect(stopped?.code).toBe('train/kl');
    expect(numbersOf(after[1])).not.toEqual(numbersOf(after[0]));
    expect(numbersOf(adapter)).toEqual(numbersOf(after[0]));
  });

  it('stops where weights are no numbers any more', async () => {
    const { records, stopped, adapter, after } = await teach(method, { lrPeak: NaN });
    expect([records.length, stopped?.code]).toEqual([2, 'train/not-finite']);
    expect(numbersOf(adapter)).toEqual(numbersOf(after[0]));
  });

  it('stops where it learns to say nothing', async () => {
    const wish = { lrPeak: 0.03, steps: 12, silent: true, klStop: Infinity };
    const free = await teach(method, { ...wish, lengthStop: 0 });
    expect(free.stopped).toBeUndefined();
    const shares = free.records.map(({ spoken }) => spoken / free.records[0]!.spoken);
    const short = shares.findIndex((share) => share < 0.6);
    expect(short).toBeGreaterThan(1);
    const held = await teach(method, { ...wish, lengthStop: 0.6 });
    const codes = held.records.map(({ stopped }) => stopped?.code);
    expect(codes).toEqual([...new Array<undefined>(short), 'train/length']);
    expect(numbersOf(held.adapter)).toEqual(numbersOf(free.after[short - 1]));
  });
});

it.each(['dpo', 'kto'] as const)(
  '%s makes no update by a gradient that is not finite',
  async (method) => {
    const { records, stopped, adapter, after } = await teach(method, {
      lrPeak: 1e-3,
      ptxBalance: NaN,
    });
    expect([records.length, stopped?.code]).toEqual([1, 'train/not-finite']);
    expect(numbersOf(adapter)).toEqual(numbersOf(after[0]));
  },
);

it('norms that are not finite stop a run', () => {
  expect(stopFor(1, 0)).toBeUndefined();
  for (const norms of [[NaN], [1, Infinity]]) {
    expect(stopFor(...norms)?.code).toBe('train/not-finite');
  }
});

it('what would be spoken of a reply is Σ Π (1 − p), over all replies', () => {
  const rows = [
    { prompt: [1], reply: [5, 6] },
    { prompt: [1], reply: [7] },
  ];
  const ends = float32([3], [0.5, 0.2, 0.9].map(Math.log));
  expect(tokensSpoken(ends, rows)).toBeCloseTo(0.5 + 0.5 * 0.8 + 0.1, 6);
  expect(tokensSpoken(undefined, rows)).toBeNaN();
});
