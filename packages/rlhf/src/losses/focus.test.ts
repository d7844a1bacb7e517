import { describe, expect, it } from 'vitest';
import { tokenWeights } from './focus.ts';

describe('weights of tokens', () => {
  const scores = Float64Array.of(0.5, -1, 2, 0.3, -0.8);
  const mean = (x: Float32Array) => x.reduce((a, b) => a + b, 0) / x.length;

  it('are 1 on average, and 1 for the token that ends the reply', () => {
    for (const kappa of [0.7, -0.7, 3]) {
      const weights = tokenWeights(scores, kappa);
      expect(mean(weights)).toBeCloseTo(1, 6);
      expect(weights[4]).toBe(1);
    }
  });

  it('grow by e^κΔ with what a token brought, and shrink by it where κ is negative', () => {
    const [first, second, third] = tokenWeights(scores, 0.7);
    expect(third! / first!).toBeCloseTo(Math.exp(0.7 * 1.5), 5);
    expect(first! / second!).toBeCloseTo(Math.exp(0.7 * 1.5), 5);
    const [against, most] = tokenWeights(scores, -0.7);
    expect(most! / against!).toBeCloseTo(Math.exp(0.7 * 1.5), 5);
  });

  it('let no token count more than one three deviations off', () => {
    const [far, near] = tokenWeights(Float64Array.of(90, -10, -40, -40, 0), 1);
    expect(far! / near!).toBeCloseTo(Math.exp(6), 2);
  });

  it('are all alike without κ, and one of a reply of one token', () => {
    expect([...tokenWeights(scores, 0)]).toEqual([1, 1, 1, 1, 1]);
    expect([...tokenWeights(Float64Array.of(2), 1)]).toEqual([1]);
  });
});
