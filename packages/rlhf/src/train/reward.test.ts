import { describe, expect, it } from 'vitest';
import { Random } from '@rapport/core';
import type { RowScore } from './policy.ts';
import { fitHead, rewardOf, trainReward } from './reward.ts';

/** Replies whose mean hidden state carries a taste along one direction. */
function reply(random: Random, taste: number): RowScore {
  const [tokens, size] = [4, 8];
  const hidden = Float32Array.from({ length: (tokens + 1) * size }, (_, i) =>
    i % size === 3 && i >= size && i < tokens * size
      ? taste + 0.1 * random.normal()
      : random.normal(),
  );
  return { logprobs: new Float32Array(tokens), hidden };
}

function rankings(count: number, random: Random) {
  return Array.from({ length: count }, () => {
    const tastes = [0, 1, 2, 3].map(() => 2 * random.normal());
    return {
      replies: tastes.map((taste) => reply(random, taste)),
      ranks: tastes.map((t) => 1 + tastes.filter((other) => other > t).length),
    };
  });
}

describe('the reward model', () => {
  it('reads the mean where the last token says nothing, and is normalised', () => {
    const random = new Random(2);
    const train = rankings(40, random);
    const demonstrations = Array.from({ length: 30 }, () => reply(random, 1));
    const model = trainReward(train, demonstrations);
    expect(model.readout).toBe('mean');
    expect(model.accuracy).toBeGreaterThan(0.85);
    expect(model.lengthBaseline).toBe(0.5);
    const mean = (x: number[]) => x.reduce((a, b) => a + b, 0) / x.length;
    expect(mean(demonstrations.map((d) => rewardOf(model, d)))).toBeCloseTo(0, 4);
    const samples = train.flatMap(({ replies }) => replies.map((r) => rewardOf(model, r)));
    const level = mean(samples);
    expect(mean(samples.map((s) => (s - level) ** 2))).toBeCloseTo(1, 3);
    expect(rewardOf(model, reply(random, 3))).toBeGreaterThan(rewardOf(model, reply(random, -3)));
  });

  it.each([
    [{ labelSmoothing: 0.1 }, Math.log(9)],
    [{ labelSmoothing: 0.1, margin: 0.5 }, Math.log(9) + 0.5],
    [{ labelSmoothing: 0.25, margin: 1 }, Math.log(3) + 1],
  ])('with %j lets the better reply lead by %d and no more', (options, lead) => {
    // One pair, no penalty: the loss is least where σ(w·d − m) = 1 − ε.
    const [weight] = fitHead([[Float64Array.of(2)]], 0, 1, 3000, options);
    expect(2 * weight!).toBeCloseTo(lead, 4);
  });

  it('weighs prompts alike, however many pairs they hold', () => {
    const [one, other] = [Float64Array.of(1), Float64Array.of(-1)];
    const [weight] = fitHead([[one, one, one], [other]], 0.1, 1, 500);
    expect(weight).toBeCloseTo(0, 6);
  });

  it('needs somebody to prefer something', () => {
    const random = new Random(2);
    const tie = { replies: [reply(random, 1), reply(random, 0)], ranks: [1, 1] };
    expect(() => trainReward([tie])).toThrow('prefers one reply');
  });
});
