import * as ort from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { float32, Graph, int64, op, Random } from '@rapport/core';
import { runGraph } from '../../../../tests/support/run-graph.ts';
import { gradients } from '../autodiff/gradients.ts';
import { rankingLoss } from '../losses/ranking.ts';
import type { RowStates } from './policy.ts';
import { disagreement, featuresOf, rewardOf, tokenScores, trainReward } from './reward.ts';
import type { RankedReplies, ReplyFeatures, RewardModel } from './reward.ts';
import { fitHead } from './reward-head.ts';
import type { RankedFeatures } from './reward-head.ts';

/** Replies whose mean hidden state carries a taste along one direction. */
function reply(random: Random, taste: number): ReplyFeatures {
  const [tokens, size] = [4, 8];
  const hidden = Float32Array.from({ length: (tokens + 1) * size }, (_, i) =>
    i % size === 3 && i >= size && i < tokens * size
      ? taste + 0.1 * random.normal()
      : random.normal(),
  );
  return featuresOf({ tokens, hidden } satisfies RowStates);
}

function rankings(count: number, random: Random): RankedReplies[] {
  return Array.from({ length: count }, () => {
    const tastes = [0, 1, 2, 3].map(() => 2 * random.normal());
    return {
      replies: tastes.map((taste) => reply(random, taste)),
      ranks: tastes.map((t) => 1 + tastes.filter((other) => other > t).length),
    };
  });
}

const mean = (x: readonly number[]) => x.reduce((a, b) => a + b, 0) / x.length;

describe('features', () => {
  it('are the mean over the reply, the position before it left out, and the last state', () => {
    const hidden = Float32Array.of(100, 200, 1, 2, 3, 6);
    const { mean, last, tokens } = featuresOf({ tokens: 2, hidden });
    expect([...mean, ...last, tokens]).toEqual([2, 4, 3, 6, 2]);
  });
});

describe('the reward model', () => {
  it('reads the mean where the last token says nothing, and is normalised', () => {
    const random = new Random(2);
    const train = rankings(40, random);
    const demonstrations = Array.from({ length: 30 }, () => reply(random, 1));
    const model = trainReward(train, demonstrations);
    expect(model.readout).toBe('mean');
    expect(model.heldOut.accuracy).toBeGreaterThan(0.85);
    expect(model.heldOut.lengthBaseline).toBe(0.5);
    expect(mean(demonstrations.map((d) => rewardOf(model, d)))).toBeCloseTo(0, 4);
    const samples = train.flatMap(({ replies }) => replies.map((r) => rewardOf(model, r)));
    const level = mean(samples);
    expect(mean(samples.map((s) => (s - level) ** 2))).toBeCloseTo(1, 3);
    expect(rewardOf(model, reply(random, 3))).toBeGreaterThan(rewardOf(model, reply(random, -3)));
  });

  it('reads the mean of replies to different prompts, whatever the last state knows of them', () => {
    const random = new Random(9);
    const ends = (one: ReplyFeatures, taste: number): ReplyFeatures => ({
      ...one,
      last: one.last.map((value, i) => (i === 0 ? 10 * taste : value)),
    });
    const within = rankings(20, random).map(({ replies, ranks }) => ({
      replies: replies.map((one, i) => ends(one, -ranks[i]!)),
      ranks,
    }));
    expect(trainReward(within).readout).toBe('last');
    const across = within.map((ranking) => ({ ...ranking, acrossPrompts: true }));
    expect(trainReward(across).readout).toBe('mean');
    expect(trainReward([...within, ...across.slice(1)]).readout).toBe('last');
  });

  it('is measured on prompts it has not seen, however often each was ranked', () => {
    const random = new Random(5);
    const state = () => Float64Array.from({ length: 64 }, () => random.normal());
    const nothing = Array.from({ length: 20 }, (_, i): RankedReplies => ({
      replies: [1, 2, 3, 4].map(() => ({ mean: state(), last: state(), tokens: 4 })),
      ranks: [1, 2, 3, 4],
      prompt: String(i),
    }));
    const twice = nothing.flatMap((ranking) => [ranking, { ...ranking }]);
    const unknown = twice.map(({ replies, ranks }) => ({ replies, ranks }));
    const accuracyOf = (all: readonly RankedReplies[]) => trainReward(all).heldOut.accuracy;
    expect(accuracyOf(unknown)).toBeGreaterThan(0.8);
    expect(Math.abs(accuracyOf(twice) - 0.5)).toBeLessThan(0.15);
    // Where each prompt was ranked once, its name changes nothing.
    const unnamed = nothing.map(({ replies, ranks }) => ({ replies, ranks }));
    expect(trainReward(nothing)).toEqual(trainReward(unnamed));
  });

  it('needs somebody to prefer something', () => {
    const random = new Random(2);
    const tie = { replies: [reply(random, 1), reply(random, 0)], ranks: [1, 1] };
    expect(() => trainReward([tie])).toThrow('prefers one reply');
  });
});

describe('what each token brought', () => {
  const random = new Random(7);
  const model = trainReward(rankings(20, random), [], { heads: 3 });
  const states = {
    tokens: 5,
    hidden: Float32Array.from({ length: 6 * 8 }, () => random.normal()),
  };

  it('is the score on average', () => {
    const scores = tokenScores(model, states)!;
    expect(scores).toHaveLength(5);
    expect(mean([...scores])).toBeCloseTo(rewardOf(model, featuresOf(states)), 5);
  });

  it('is the score of a reply of that token alone', () => {
    const alone = { tokens: 1, hidden: states.hidden.slice(2 * 8, 4 * 8) };
    expect(tokenScores(model, states)![2]).toBeCloseTo(rewardOf(model, featuresOf(alone)), 5);
  });

  it('is not known where the last state alone is read', () => {
    expect(tokenScores({ ...model, readout: 'last' }, states)).toBeUndefined();
  });
});

describe('an ensemble of heads', () => {
  const plain = {
    readout: 'mean',
    mean: Float32Array.of(1),
    deviation: Float32Array.of(2),
  } as const;
  const model = (...heads: number[]): RewardModel => ({
    ...plain,
    heads: heads.map((w) => Float32Array.of(w)),
    gain: 3,
    bias: 0.5,
    l2: 1,
    heldOut: trainReward(rankings(2, new Random(1))).heldOut,
  });
  const at = (x: number): ReplyFeatures => ({
    mean: Float64Array.of(x),
    last: Float64Array.of(0),
    tokens: 1,
  });

  it('is worth its mean, less caution times its deviation', () => {
    // x̂ = (5 − 1)/2 = 2: heads 1 and 3 say 3·2 + 0.5 and 3·6 + 0.5.
    const two = model(1, 3);
    expect(rewardOf(two, at(5))).toBeCloseTo(12.5, 12);
    expect(disagreement(two, at(5))).toBeCloseTo(6, 12);
    expect(rewardOf(two, at(5), 0.5)).toBeCloseTo(9.5, 12);
    expect(disagreement(two, at(1))).toBe(0);
    expect(disagreement(model(2), at(5))).toBe(0);
  });

  it('differs more about replies unlike any that were ranked', () => {
    const random = new Random(6);
    const trained = trainReward(rankings(30, random), [], { heads: 8 });
    expect(trained.heads).toHaveLength(8);
    const doubt = (replies: readonly ReplyFeatures[]) =>
      mean(replies.map((r) => disagreement(trained, r)));
    const known = rankings(10, random).flatMap(({ replies }) => replies);
    const far = known.map((r) => ({ ...r, mean: r.mean.map((x) => 4 * x) }));
    expect(doubt(far)).toBeGreaterThan(2 * doubt(known));
  });

  it('repeats from its seed, and one head is the fit to all rankings', () => {
    const train = rankings(12, new Random(4));
    const heads = (seed: number) => trainReward(train, [], { seed, heads: 3 }).heads;
    expect(heads(1)).toEqual(heads(1));
    expect(heads(2)).not.toEqual(heads(1));
    const one = trainReward(train, [], { heads: 1, seed: 1 });
    expect(one.heads).toEqual(trainReward(train, [], { heads: 1, seed: 2 }).heads);
  });
});

describe('a head', () => {
  const pair = (better: number[], worse: number[]): RankedFeatures => ({
    features: [Float64Array.from(better), Float64Array.from(worse)],
    pairs: [{ better: 0, worse: 1 }],
  });

  it.each([
    [{ labelSmoothing: 0.1 }, Math.log(9)],
    [{ labelSmoothing: 0.1, margin: 0.5 }, Math.log(9) + 0.5],
    [{ labelSmoothing: 0.25, margin: 1 }, Math.log(3) + 1],
  ])('with %j lets the better reply lead by %d and no more', (options, lead) => {
    // One pair, no penalty: the loss is least where σ(lead − m) = 1 − ε.
    const [weight] = fitHead([pair([1], [-1])], 1, { ...options, l2: 0 });
    expect(2 * weight!).toBeCloseTo(lead, 4);
  });

  it('weighs prompts alike, however many pairs they hold', () => {
    const one = { ...pair([1], [0]), pairs: [0, 1, 2].map(() => ({ better: 0, worse: 1 })) };
    const [weight] = fitHead([one, pair([0], [1])], 1, { l2: 0.1 });
    expect(weight).toBeCloseTo(0, 6);
  });

  it.each([{}, { margin: 0.7, labelSmoothing: 0.2 }, { centring: 0.3 }])(
    'with %j rests where the gradient of the ranking loss graph and of the penalty cancel',
    async (options) => {
      const random = new Random(9);
      const [size, l2] = [3, 0.2];
      const prompts = [3, 2].map((replies): RankedFeatures => ({
        features: Array.from({ length: replies }, () =>
          Float64Array.from({ length: size }, () => random.normal()),
        ),
        pairs:
          replies === 3
            ? [0, 1].map((better) => ({ better, worse: 2 }))
            : [{ better: 0, worse: 1 }],
      }));
      const w = fitHead(prompts, size, { ...options, l2 });
      const graph = new Graph();
      const weights = graph.input('w', 'float32', [size, 1]);
      const x = graph.constant(
        float32(
          [5, size],
          prompts.flatMap((p) => p.features.flatMap((f) => [...f])),
        ),
      );
      const list = (...rows: number[]) => graph.constant(int64([3], rows));
      const loss = rankingLoss(
        op.squeeze(op.matmul(x, weights), [1]),
        {
          better: list(0, 1, 3),
          worse: list(2, 2, 4),
          weight: graph.constant(float32([3], [1 / 4, 1 / 4, 1 / 2])),
        },
        options,
      );
      graph.output('g', gradients(loss, [weights])[0]!);
      const { g } = await (await runGraph(ort, graph))({ w: float32([size, 1], w) });
      w.forEach((wi, i) => expect(Number(g!.data[i]) + l2 * wi).toBeCloseTo(0, 4));
      expect(Math.max(...w.map(Math.abs))).toBeGreaterThan(0.1);
    },
  );
});
