// The golden numbers: double-precision references, here computed by graphs in float32 (tolerance 2e-6)
// or by plain functions (tolerance 1e-9 of the printed digits).
import * as ort from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { float32, Graph, int64 } from '@rapport/core';
import type { Value } from '@rapport/core';
import { runGraph } from '../../../../tests/support/run-graph.ts';
import { gradients } from '../autodiff/gradients.ts';
import {
  adaptKlCoef,
  gae,
  groupAdvantage,
  klEstimates,
  leaveOneOut,
  moments,
  paidByToken,
  paidScore,
  tokenRewards,
  updateReport,
  whiten,
} from './advantage.ts';
import { policyLoss, valueLoss } from './policy.ts';
import { dpoLoss, implicitRewards, ktoLoss, referencePoint, thumbWeights } from './preference.ts';
import { rankingLoss } from './ranking.ts';

/** Runs a loss of one vector or matrix; returns it and its gradient. */
async function lossOf(
  x: readonly (readonly number[])[] | readonly number[],
  build: (
    x: Value,
    constant: (rows: readonly (readonly number[])[] | readonly number[]) => Value,
  ) => Value,
) {
  const graph = new Graph();
  const tensor = (rows: readonly (readonly number[])[] | readonly number[]) =>
    Array.isArray(rows[0])
      ? float32([rows.length, (rows[0] as number[]).length], (rows as number[][]).flat())
      : float32([rows.length], rows as number[]);
  const input = graph.input('x', 'float32', tensor(x).shape);
  const loss = build(input, (rows) => graph.constant(tensor(rows)));
  graph.output('loss', loss);
  graph.output('gradient', gradients(loss, [input])[0]!);
  const out = await (await runGraph(ort, graph))({ x: tensor(x) });
  return {
    loss: Number(out['loss']!.data[0]),
    gradient: Array.from(out['gradient']!.data as Float32Array),
  };
}

const pairs = (graph: Graph, list: readonly (readonly [number, number])[], weights?: number[]) => ({
  better: graph.constant(
    int64(
      [list.length],
      list.map(([a]) => a),
    ),
  ),
  worse: graph.constant(
    int64(
      [list.length],
      list.map(([, b]) => b),
    ),
  ),
  weight: graph.constant(float32([list.length], weights ?? list.map(() => 1 / list.length))),
});
const sixPairs = [
  [0, 1],
  [0, 2],
  [0, 3],
  [1, 2],
  [1, 3],
  [2, 3],
] as const;

describe('the ranking loss', () => {
  it('of four replies in order is the mean over six pairs', async () => {
    const { loss, gradient } = await lossOf([2, 1, 0.5, -1], (r) =>
      rankingLoss(r, pairs(r.graph, sixPairs)),
    );
    expect(loss).toBeCloseTo(0.2276134317, 6);
    [-0.0831321364, -0.0379670282, 0.0629234448, 0.0581757198].forEach((g, i) =>
      expect(gradient[i]).toBeCloseTo(g, 6),
    );
  });
  it('drops tied pairs', async () => {
    const untied = sixPairs.filter(([a, b]) => !(a === 1 && b === 2));
    const { loss } = await lossOf([2, 1, 0.5, -1], (r) => rankingLoss(r, pairs(r.graph, untied)));
    expect(loss).toBeCloseTo(0.1783207212, 6);
  });
  it('is a mean over prompts, not over pairs', async () => {
    const two = [[4, 5] as const, ...sixPairs];
    const weights = [1 / 2, ...sixPairs.map(() => 1 / 12)];
    const { loss } = await lossOf([2, 1, 0.5, -1, 0.3, -0.2], (r) =>
      rankingLoss(r, pairs(r.graph, two, weights)),
    );
    expect(loss).toBeCloseTo(0.3508452044, 6);
  });
  it.each([
    [{}, 0.4997760737],
    [{ margin: 0.5 }, 0.7082238682],
    [{ centring: 0.01 }, 0.5028260737],
  ])('of plain pairs with %j is %d', async (options, expected) => {
    const { loss } = await lossOf([1, 0.2, -0.5, 0.4], (r) =>
      rankingLoss(
        r,
        pairs(r.graph, [
          [0, 2],
          [1, 3],
        ]),
        options,
      ),
    );
    expect(loss).toBeCloseTo(expected, 6);
  });
});

describe('preference losses', () => {
  const logratios = [-12 + 13, -15 + 14.5];
  it.each([
    [{ beta: 0.1 }, 0.6209570478],
    [{ beta: 0.1, labelSmoothing: 0.1 }, 0.6359570478],
    [{ beta: 0.1, kind: 'ipo' as const }, 12.25],
    [{ beta: 0.3, kind: 'sigmoid' as const }, Math.log1p(Math.exp(-0.45))],
  ])('DPO with %j is %d', async (options, expected) => {
    const { loss } = await lossOf(logratios, (h) => dpoLoss(h, pairs(h.graph, [[0, 1]]), options));
    expect(loss).toBeCloseTo(expected, 5);
  });
  it('DPO of equal policies is ln 2', async () => {
    const { loss } = await lossOf([0, 0], (h) =>
      dpoLoss(h, pairs(h.graph, [[0, 1]]), { beta: 0.1 }),
    );
    expect(loss).toBeCloseTo(Math.LN2, 6);
  });
  it('has the implicit rewards β·ℓ', () => {
    const [chosen, rejected] = implicitRewards(logratios, 0.1);
    expect(chosen).toBeCloseTo(0.1, 12);
    expect(rejected).toBeCloseTo(-0.05, 12);
  });
  const rotated = [0.3, -0.1, 0.2];
  it('KTO refers to the mean of mismatched log-ratios, or to 0', () => {
    expect(referencePoint(rotated)).toBeCloseTo(0.1333333333, 10);
    expect(referencePoint(rotated.map((l) => -l))).toBe(0);
  });
  it.each([
    [[1, 0, 0], 0.4783468849],
    [[0, 1, 0], 0.484171957],
    [[0, 0, 1], 0.4933337284],
    [[1 / 3, 1 / 3, 1 / 3], 0.4852841901],
    [[1.33 / 3, 1 / 3, 1.33 / 3], 0.5921690575],
  ])('KTO of replies weighing %j is %d', async (weight, expected) => {
    const { loss } = await lossOf([1, -0.5, 0.4], (l, constant) =>
      ktoLoss(
        l,
        {
          sign: constant([1, -1, 1]),
          z: l.graph.scalar(referencePoint(rotated)),
          weight: constant(weight),
        },
        0.1,
      ),
    );
    expect(loss).toBeCloseTo(expected, 6);
  });
  it.each([
    // Rare thumbs up: 16·2.75 = 44. Rare thumbs down: 4/3 of them. In between: as they are.
    [16, 44, 2.75, 1],
    [44, 16, 1, 2.0625],
    [1, 59, 59, 1],
    [30, 30, 1, 1],
    [40, 30, 1, 1],
    [50, 30, 1, 1.25],
  ])('weighs %d thumbs up and %d down by %d and %d', (up, down, weightUp, weightDown) => {
    const weights = thumbWeights(up, down);
    expect(weights.up).toBeCloseTo(weightUp, 12);
    expect(weights.down).toBeCloseTo(weightDown, 12);
    const ratio = (weights.up * up) / (weights.down * down);
    expect(ratio).toBeGreaterThanOrEqual(1 - 1e-12);
    expect(ratio).toBeLessThanOrEqual(4 / 3 + 1e-12);
  });
});

describe('PPO', () => {
  const logprobs = [
    [-1, -2, -0.5, -0.7],
    [-1.2, -0.9, -0.3],
  ];
  const ref = [
    [-1.1, -1.8, -0.6, -0.9],
    [-1, -1, -0.4],
  ];
  const oldValues = [
    [0.1, 0.2, 0.3, 0.25],
    [0, -0.1, 0.05],
  ];
  const rewards = [0, 1].map((i) => tokenRewards(logprobs[i]!, ref[i]!, [1, -0.5][i]!, 0.05));
  const estimates = rewards.map((r, i) => gae(r, oldValues[i]!, 1, 0.95));
  const white = whiten(estimates.map((e) => e.advantages));
  const close = (a: readonly number[], b: readonly number[], digits = 9) =>
    b.forEach((x, i) => expect(a[i]).toBeCloseTo(x, digits));

  const newLogprobs = [
    [-0.9, -2.1, -0.2, -0.7],
    [-1.5, -0.9, -0.25],
  ];
  const newValues = [
    [0.2, 0.5, 0.3, 0.6],
    [0.1, -0.4, 0],
  ];

  it('puts the leash on every token and the score on the last', () => {
    close(rewards[0]!, [-0.005, 0.01, -0.005, 0.99]);
    close(rewards[1]!, [0.01, -0.005, -0.505]);
  });
  it.each([
    [2, true, 2],
    [7, true, 5],
    [-7, true, -5],
    [2, false, 1],
    [-3, false, -4],
    [-7, false, -6],
  ])('pays a score of %d, ended: %s, as %d: not ending never helps', (score, ended, paid) => {
    expect(paidScore(score, ended, { scoreClip: 5, missingEndPenalty: 1 })).toBe(paid);
  });
  it('estimates advantages backwards and returns from them', () => {
    close(estimates[0]!.advantages, [0.78432, 0.7256, 0.648, 0.74]);
    close(estimates[0]!.returns, [0.88432, 0.9256, 0.948, 0.99]);
    // Printed to six digits: the first is −0.4531375.
    close(estimates[1]!.advantages, [-0.453137, -0.38225, -0.555], 5);
    close(estimates[1]!.returns, [-0.453137, -0.48225, -0.505], 5);
    const { mean, variance } = moments(estimates.flatMap((e) => e.advantages));
    close([mean, variance], [0.2153617857, 0.4073276646]);
  });
  it('whitens over all reply tokens', () => {
    close(white[0]!, [0.891473, 0.799468, 0.67788, 0.822031], 5);
    close(white[1]!, [-1.04744, -0.936369, -1.207043], 5);
  });
  it('without a critic compares a score with the others of its prompt', () => {
    close(leaveOneOut([1, 2, 6]), [-3, -1.5, 4.5]);
    // Mean 3, unbiased variance 7.
    close(
      groupAdvantage([1, 2, 6]),
      [-2, -1, 3].map((x) => x / (Math.sqrt(7) + 1e-4)),
    );
  });
  it('has the golden policy and value loss on padded rows', async () => {
    const pad = (x: readonly number[], by = 0) => [...x, ...Array<number>(4 - x.length).fill(by)];
    const weight = [
      [1, 1, 1, 1],
      [1, 1, 1, 0],
    ].map((row) => row.map((m) => m / 7));
    const policy = await lossOf(
      newLogprobs.map((r) => pad(r)),
      (x, constant) =>
        policyLoss(
          x,
          {
            oldLogprobs: constant(logprobs.map((r) => pad(r))),
            advantages: constant(white.map((r) => pad(r))),
            weight: constant(weight),
          },
          0.2,
        ),
    );
    expect(policy.loss).toBeCloseTo(-0.0429793115, 6);
    expect(policy.gradient[7]).toBe(0);
    const value = await lossOf(
      newValues.map((r) => pad(r)),
      (x, constant) =>
        valueLoss(
          x,
          {
            oldValues: constant(oldValues.map((r) => pad(r))),
            returns: constant(estimates.map((e) => pad(e.returns))),
            weight: constant(weight),
          },
          0.2,
        ),
    );
    expect(value.loss).toBeCloseTo(0.1464467413, 6);
    expect(policy.loss + 0.1 * value.loss).toBeCloseTo(-0.0283346374, 6);
  });
  it('pays a score token by token with the same return', () => {
    const brought = Float64Array.of(2, -1, 0.5, 0.1);
    const paid = paidByToken(0.7, brought, -1);
    expect(paid.reduce((a, b) => a + b, 0)).toBeCloseTo(0.7, 12);
    expect(paid[0]! - paid[1]!).toBeCloseTo(3 / 4, 12);
    // The last token brought 0.4 less than the one before, and the end cost 1.
    expect(paid[3]! - paid[2]!).toBeCloseTo(-0.4 / 4 - 1, 12);
    const nothing = [0, 0, 0, 0];
    const after = (score: number | readonly number[]) =>
      gae(tokenRewards(nothing, nothing, score, 0.05), nothing, 1, 1).advantages;
    expect(after(paid)[0]).toBeCloseTo(after(0.7)[0]!, 12);
    // What comes later than a token is all that it is credited with.
    expect(after(paid)[2]).toBeCloseTo(paid[2]! + paid[3]!, 12);
  });

  it('reports how far an update is from the policy that spoke', () => {
    const report = updateReport(
      { logprobs: newLogprobs.flat(), values: newValues.flat() },
      { logprobs: logprobs.flat(), values: oldValues.flat() },
      { clipRange: 0.2, valueClip: 0.2 },
    );
    expect(report.clipFraction).toBe(2 / 7);
    expect(report.valueClipFraction).toBe(3 / 7);
    expect(report.updateKl).toBeCloseTo(0.0144642857, 10);
    // The third token of the first reply: log ρ = 0.3.
    expect(report.ratioError).toBeCloseTo(Math.exp(0.3) - 1, 12);
  });
  it('has no gradient where there is no advantage', async () => {
    const { gradient } = await lossOf([[-1, -2]], (x, constant) =>
      policyLoss(
        x,
        {
          oldLogprobs: constant([[-1, -2]]),
          advantages: constant([[0, 0]]),
          weight: constant([[0.5, 0.5]]),
        },
        0.2,
      ),
    );
    expect(gradient.map(Math.abs)).toEqual([0, 0]);
  });
  it('measures the distance to the reference', () => {
    const all = [0, 1].map((i) => klEstimates(logprobs[i]!, ref[i]!));
    close(
      all.map((k) => k.k1),
      [0.2, 0],
    );
    expect((all[0]!.k2 + all[1]!.k2) / 7).toBeCloseTo(0.0114285714, 9);
    expect((all[0]!.k3 + all[1]!.k3) / 7).toBeCloseTo(0.0115551345, 9);
  });
  it('pulls the leash by the adaptive rule', () => {
    const rule = { target: 6, horizon: 10_000, replies: 512 };
    expect(adaptKlCoef(0.15, 12, rule)).toBeCloseTo(0.151536, 9);
    expect(adaptKlCoef(0.15, 3, rule)).toBeCloseTo(0.148464, 9);
  });
});
