import { describe, expect, it } from 'vitest';
import { AdamW, clipNorm } from './adamw.ts';
import { minimise } from './lbfgs.ts';
import { Random } from '@rapport/core';
import { rateAt } from './schedule.ts';

describe('AdamW', () => {
  it('follows PyTorch, ε outside the bias-corrected root', () => {
    // torch.optim.AdamW([1, -2], lr=0.1, betas=(.9, .99), eps=0.1, weight_decay=0.01), gradients [0.5, -1] then [0.2, 0.3]:
    // by the formula in doubles, two steps.
    const slow = [1, -2];
    const grads = [
      [0.5, -1],
      [0.2, 0.3],
    ];
    const [m, v] = [
      [0, 0],
      [0, 0],
    ];
    grads.forEach((g, t) =>
      g.forEach((gi, i) => {
        m[i] = 0.9 * m[i]! + 0.1 * gi;
        v[i] = 0.99 * v[i]! + 0.01 * gi * gi;
        const denominator = Math.sqrt(v[i]!) / Math.sqrt(1 - 0.99 ** (t + 1)) + 0.1;
        slow[i] =
          slow[i]! * (1 - 0.1 * 0.01) - ((0.1 / (1 - 0.9 ** (t + 1))) * m[i]!) / denominator;
      }),
    );
    const theta = new Map([['w', Float32Array.of(1, -2)]]);
    const adam = new AdamW({ betas: [0.9, 0.99], epsilon: 0.1, weightDecay: 0.01 });
    for (const g of grads) adam.step(theta, new Map([['w', Float32Array.from(g)]]), 0.1);
    slow.forEach((x, i) => expect(theta.get('w')![i]).toBeCloseTo(x, 6));
  });

  it('resumed from its state takes the same steps bit for bit', () => {
    const run = (resumeAt?: number) => {
      const random = new Random(7);
      const theta = new Map([['w', Float32Array.of(1, 2, 3)]]);
      let adam = new AdamW();
      for (let step = 0; step < 6; step++) {
        if (step === resumeAt) {
          const state = structuredClone(adam.state());
          adam = new AdamW();
          adam.restore(state);
        }
        adam.step(
          theta,
          new Map([['w', Float32Array.from([1, 2, 3], () => random.normal())]]),
          0.01,
        );
      }
      return theta.get('w')!;
    };
    expect(run(3)).toEqual(run());
  });

  it('clips by the norm of all gradients together', () => {
    const g = new Map([
      ['a', Float32Array.of(3)],
      ['b', Float32Array.of(4)],
    ]);
    expect(clipNorm(g, 1)).toBe(5);
    expect(g.get('a')![0]).toBeCloseTo(0.6, 6);
    expect(clipNorm(g, 10)).toBeCloseTo(1, 6);
    expect(g.get('b')![0]).toBeCloseTo(0.8, 6);
  });
});

describe('learning rates', () => {
  it('warm up, then fall to nothing or to a tenth', () => {
    expect(rateAt(0, { kind: 'linear', warmup: 4, steps: 12 })).toBe(0.25);
    expect(rateAt(12, { kind: 'linear', warmup: 4, steps: 12 })).toBe(0);
    expect(rateAt(12, { kind: 'cosine', warmup: 4, steps: 12 })).toBeCloseTo(0.1, 12);
    expect(rateAt(8, { kind: 'cosine', warmup: 4, steps: 12 })).toBeCloseTo(0.55, 12);
  });
});

describe('random numbers', () => {
  it('repeat from a seed and from a saved state', () => {
    const random = new Random(1);
    const start = Array.from({ length: 3 }, () => random.uniform());
    const state = random.state();
    const rest = random.normal();
    expect(new Random(state).normal()).toBe(rest);
    expect(
      Array.from(
        { length: 3 },
        (
          (r) => () =>
            r.uniform()
        )(new Random(1)),
      ),
    ).toEqual(start);
  });
  it('are those of xoshiro128**', () => {
    const random = new Random([1, 2, 3, 4]);
    const drawn = [1, 2, 3, 4].map(() => 2 ** 32 * random.uniform());
    expect(drawn).toEqual([11520, 0, 5927040, 70819200]);
  });
  it('have mean 0 and variance 1 when normal', () => {
    const random = new Random(3);
    const x = Array.from({ length: 20_000 }, () => random.normal());
    const mean = x.reduce((a, b) => a + b) / x.length;
    expect(Math.abs(mean)).toBeLessThan(0.03);
    expect(Math.abs(x.reduce((a, b) => a + (b - mean) ** 2, 0) / x.length - 1)).toBeLessThan(0.05);
  });
});

describe('L-BFGS', () => {
  it('finds the least value of an ill-conditioned quadratic', () => {
    const scales = [1, 10, 100, 1000];
    const at = (x: Float64Array) => ({
      value: x.reduce((sum, xi, i) => sum + (scales[i]! / 2) * (xi - i) ** 2, 0),
      gradient: x.map((xi, i) => scales[i]! * (xi - i)),
    });
    const least = minimise(at, Float64Array.of(5, -3, 20, 1));
    least.forEach((xi, i) => expect(xi).toBeCloseTo(i, 6));
    expect(minimise(at, least)).toBe(least);
  });

  it('solves logistic regression with a penalty as a slow descent does', () => {
    const random = new Random(3);
    const rows = Array.from({ length: 30 }, () => [random.normal(), random.normal(), 1]);
    const labels = rows.map(([a]) => Number(a! + random.normal() > 0));
    const at = (w: Float64Array) => {
      let value = 0.05 * w.reduce((sum, wi) => sum + wi * wi, 0);
      const gradient = w.map((wi) => 0.1 * wi);
      rows.forEach((row, r) => {
        const x = row.reduce((sum, xi, k) => sum + xi * w[k]!, 0);
        value += Math.log1p(Math.exp(x)) - labels[r]! * x;
        row.forEach((xi, k) => {
          gradient[k]! += (1 / (1 + Math.exp(-x)) - labels[r]!) * xi;
        });
      });
      return { value, gradient };
    };
    let slow = new Float64Array(3);
    for (let i = 0; i < 5000; i++) slow = slow.map((wi, k) => wi - 0.02 * at(slow).gradient[k]!);
    minimise(at, new Float64Array(3)).forEach((wi, k) => expect(wi).toBeCloseTo(slow[k]!, 6));
  });
});
