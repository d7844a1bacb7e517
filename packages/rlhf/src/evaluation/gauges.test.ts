// Golden pairs and canaries: what must not get worse, whoever's taste was learned.
import { beforeAll, describe, expect, it, test } from 'vitest';
import { Random } from '@rapport/core';
import type { Checkpoint, Runtime } from '@rapport/core';
import { nodeRuntime } from '../../../../tests/support/node-runtime.ts';
import { tinyCheckpoint } from '../../../../tests/support/tiny.ts';
import { Speaker } from '../rollout/speaker.ts';
import { dpoDefaults, trainDpo } from '../train/dpo.ts';
import { newAdapter } from '../train/adapter.ts';
import { Policy } from '../train/policy.ts';
import { askCanaries, compareAnswers, flawsOf } from './canaries.ts';
import { goldenErrors, type GoldenPair } from './golden-pairs.ts';

const END = 2;
let checkpoint: Checkpoint;
let runtime: Runtime;

beforeAll(async () => {
  checkpoint = await tinyCheckpoint('llama-tied');
  runtime = await nodeRuntime(checkpoint);
});

describe('golden pairs', () => {
  const random = new Random(3);
  const words = (count: number) => Array.from({ length: count }, () => 3 + random.integer(60));
  const pairs: GoldenPair[] = Array.from({ length: 8 }, () => ({
    prompt: words(4),
    chosen: [...words(5), END],
    rejected: [...words(8), END],
  }));
  const swapped = pairs.map((p) => ({ ...p, chosen: p.rejected, rejected: p.chosen }));

  it('an untrained adapter errs exactly where the base does', async () => {
    const policy = new Policy(checkpoint, runtime);
    const adapter = newAdapter(policy.sites, dpoDefaults, new Random(1));
    const there = await goldenErrors(policy, pairs, adapter);
    const back = await goldenErrors(policy, swapped, adapter);
    expect(there.goldenErrors).toBe(there.baseGoldenErrors);
    expect(there.goldenErrors + back.goldenErrors).toBe(pairs.length);
    await policy.dispose();
  });

  it('a policy that was taught the worse replies errs more than the base', async () => {
    const policy = new Policy(checkpoint, runtime);
    const rankings = [];
    for (const { prompt, chosen, rejected } of pairs) {
      const rows = await policy.withTrunk([
        { prompt, reply: rejected },
        { prompt, reply: chosen },
      ]);
      const scores = await policy.score(rows, null);
      const refLogprobs = scores.map(({ logprobs }) => logprobs);
      rankings.push({ rows, refLogprobs, ranks: [1, 2] });
    }
    const run = trainDpo(policy, rankings, [], { ...dpoDefaults, lrPeak: 0.02, seed: 1 });
    let next = await run.next();
    while (!next.done) next = await run.next();
    const counted = await goldenErrors(policy, pairs, next.value.adapter);
    expect(counted.goldenErrors).toBeGreaterThan(counted.baseGoldenErrors);
    await policy.dispose();
  });
});

describe('canaries', () => {
  const said = (text: string, more: { ended?: boolean; tokens?: number[] } = {}) => ({
    text,
    ended: true,
    tokens: [4, 5, 6],
    ...more,
  });
  const times = (count: number, ...period: number[]) => Array.from({ length: count }, () => period);

  test.each([
    [said('It is Paris.'), []],
    [said('PARIS'), []],
    [said('Lyon'), ['wrong']],
    [said(' \n'), ['empty', 'wrong']],
    [
      said('Paris, Paris, ', { ended: false, tokens: times(4, 9, 8, 7, 6, 5, 4, 3).flat() }),
      ['endless', 'loop'],
    ],
    // A list begins every line alike, and three exclamation marks are a mood.
    [said('Paris', { tokens: [1, 9, 2, 30, 31, 32, 9, 2, 40, 41, 42, 9, 2, 50, 51, 52] }), []],
    [said('Paris!!!', { tokens: [1, ...times(3, 7).flat()] }), []],
  ])('%j has the flaws %j', (answer, flaws) => {
    expect(flawsOf(answer, ['Paris'])).toEqual(flaws);
  });

  it('what the base did not do right is not held against the adapter', () => {
    const expected = [{ expect: ['7', 'seven'] }, { expect: ['4'] }, { expect: ['blue'] }];
    const before = [[said('Seven.')], [said('5')], [said('blue')]];
    const now = [[said('Eight.')], [said('6')], [said('blue blue', { ended: false })]];
    expect(compareAnswers(expected, before, now)).toEqual({
      canaries: 3,
      canariesBroken: 1,
      canariesWrong: 1,
    });
  });

  it('most answers decide', () => {
    const expected = [{ expect: ['7'] }, { expect: ['4'] }];
    const [right, wrong, endless] = [said('7 or 4'), said('5'), said('7, 4, ', { ended: false })];
    const before = [
      [right, right, wrong],
      [right, right, right],
    ];
    const sometimes = [
      [right, wrong, right],
      [endless, right, right],
    ];
    const mostly = [
      [wrong, wrong, right],
      [endless, right, endless],
    ];
    const none = { canaries: 2, canariesBroken: 0, canariesWrong: 0 };
    expect(compareAnswers(expected, before, sometimes)).toEqual(none);
    expect(compareAnswers(expected, before, mostly)).toEqual({
      ...none,
      canariesBroken: 1,
      canariesWrong: 1,
    });
  });

  it('an untrained adapter answers as the base does', async () => {
    const policy = new Policy(checkpoint, runtime);
    const { fromLayer } = policy.place;
    const speaker = await Speaker.create(checkpoint, runtime, { endOfTurn: END, fromLayer });
    const canaries = [5, 9, 21].map((id) => ({ prompt: [1, id], expect: ['a'] }));
    const options = { decode: (tokens: readonly number[]) => tokens.join(' '), maxTokens: 8 };
    const before = await askCanaries(speaker, canaries, null, options);
    const untrained = newAdapter(policy.sites, dpoDefaults, new Random(1));
    expect(before).toHaveLength(3);
    expect(await askCanaries(speaker, canaries, untrained, options)).toEqual(before);
    await speaker.dispose();
    await policy.dispose();
  });
});
