import { describe, expect, test } from 'vitest';
import { Random } from '../random.ts';
import { LargestFirst } from './largest-first.ts';
import { Sampler } from './sampler.ts';
import type { SamplingWithSeed } from './speech.ts';

const DRAWS = 20_000;
/** Large enough that no cut is trivial: 12 tokens, two of them equally likely. */
const LOGITS = Float32Array.from([2, 1, 0, -1, 1.5, 0.3, -2, 1, -0.5, 0.9, -3, 0.1]);
const OFF = { topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, maxTokens: 9, seed: 3 };

/** The slow, obvious way: sort, cut, renormalise. */
function expectedShares(
  logits: ArrayLike<number>,
  { temperature, topK, topP, minP, repetitionPenalty }: SamplingWithSeed,
  said: readonly number[],
): number[] {
  const scores = Array.from(logits, (x, id) => {
    if (!said.includes(id)) return x;
    return x > 0 ? x / repetitionPenalty : x * repetitionPenalty;
  });
  const weights = scores.map((x) => Math.exp(x / temperature));
  let kept = weights.map((_, id) => id).sort((a, b) => weights[b]! - weights[a]! || a - b);
  kept = kept.filter((id) => weights[id]! >= minP * weights[kept[0]!]!);
  if (topK > 0) kept = kept.slice(0, topK);
  const total = kept.reduce((sum, id) => sum + weights[id]!, 0);
  let reached = 0;
  kept = kept.filter((id) => {
    const wanted = reached < topP * total;
    reached += weights[id]!;
    return wanted;
  });
  const left = kept.reduce((sum, id) => sum + weights[id]!, 0);
  return weights.map((weight, id) => (kept.includes(id) ? weight / left : 0));
}

/** Σ (found − expected)² / expected over the tokens that can be drawn, and their number less one. */
function chiSquare(counts: readonly number[], shares: readonly number[]) {
  let [statistic, cells] = [0, 0];
  shares.forEach((share, id) => {
    if (share === 0) return expect(counts[id], `token ${id} was cut off`).toBe(0);
    const expected = share * counts.reduce((a, b) => a + b);
    statistic += (counts[id]! - expected) ** 2 / expected;
    cells++;
  });
  return { statistic, degrees: cells - 1 };
}

/** The value a χ² of so many degrees exceeds once in 10,000 times (Wilson and Hilferty, 1931). */
const critical = (degrees: number): number =>
  degrees * (1 - 2 / (9 * degrees) + 3.719 * Math.sqrt(2 / (9 * degrees))) ** 3;

describe('tokens come with the shares of the softmax as it is cut', () => {
  test.each<[string, Partial<SamplingWithSeed>, number[]]>([
    ['temperature 1', {}, []],
    ['temperature 0.5', { temperature: 0.5 }, []],
    ['temperature 3', { temperature: 3 }, []],
    ['top-k', { topK: 4 }, []],
    ['top-k of all', { topK: 12 }, []],
    ['top-p', { topP: 0.7 }, []],
    ['top-p 0.99', { topP: 0.99 }, []],
    ['min-p', { minP: 0.2 }, []],
    ['repetition penalty', { repetitionPenalty: 1.7 }, [0, 3, 3, 7]],
    ['a penalty on the likeliest, then top-p', { repetitionPenalty: 4, topP: 0.6 }, [0, 4]],
    ['everything at once', { temperature: 0.8, topK: 9, topP: 0.9, minP: 0.1 }, []],
    [
      'everything at once, with a penalty',
      { temperature: 1.3, topK: 8, topP: 0.95, minP: 0.05, repetitionPenalty: 1.2 },
      [1, 2],
    ],
  ])('%s', (_name, change, said) => {
    const sampling = { ...OFF, temperature: 1, ...change };
    const counts = LOGITS.reduce<number[]>((all) => [...all, 0], []);
    for (let seed = 0; seed < DRAWS; seed++) {
      counts[new Sampler({ ...sampling, seed }, said).next(LOGITS).id]!++;
    }
    const { statistic, degrees } = chiSquare(counts, expectedShares(LOGITS, sampling, said));
    expect(statistic).toBeLessThan(critical(degrees));
  });

  test('and one sampler draws them one after the other as well', () => {
    const sampling = { ...OFF, temperature: 0.7 };
    const sampler = new Sampler(sampling);
    const counts = Array.from(LOGITS, () => 0);
    for (let i = 0; i < DRAWS; i++) counts[sampler.next(LOGITS).id]!++;
    const { statistic, degrees } = chiSquare(counts, expectedShares(LOGITS, sampling, []));
    expect(statistic).toBeLessThan(critical(degrees));
  });

  test('with other shares the test would fail', () => {
    const counts = Array.from(LOGITS, () => 0);
    const sampler = new Sampler({ ...OFF, temperature: 1 });
    for (let i = 0; i < DRAWS; i++) counts[sampler.next(LOGITS).id]!++;
    const shares = expectedShares(LOGITS, { ...OFF, temperature: 1.1 }, []);
    const { statistic, degrees } = chiSquare(counts, shares);
    expect(statistic).toBeGreaterThan(critical(degrees));
  });
});

describe('each token comes with its log-prob', () => {
  const softmax = (temperature: number) =>
    expectedShares(LOGITS, { ...OFF, temperature }, []).map(Math.log);

  test('at its temperature, before anything is cut off or penalised', () => {
    const sampling = { ...OFF, temperature: 0.6, topK: 3, topP: 0.9, repetitionPenalty: 1.5 };
    const sampler = new Sampler(sampling, [0]);
    for (let i = 0; i < 50; i++) {
      const { id, logprob } = sampler.next(LOGITS);
      expect(logprob).toBeCloseTo(softmax(0.6)[id]!, 6);
    }
  });

  test('greedy takes the likeliest, with its log-prob at temperature 1', () => {
    const { id, logprob } = new Sampler({ ...OFF, temperature: 0 }).next(LOGITS);
    expect(id).toBe(0);
    expect(logprob).toBeCloseTo(softmax(1)[0]!, 6);
  });

  test('however large the scores are', () => {
    const large = LOGITS.map((x) => 1000 * x);
    expect(new Sampler({ ...OFF, temperature: 1 }).next(large)).toEqual({ id: 0, logprob: 0 });
  });
});

test('greedy with a penalty moves on from what it said', () => {
  const sampler = new Sampler({ ...OFF, temperature: 0, repetitionPenalty: 2 });
  const said = Array.from({ length: 4 }, () => sampler.next(LOGITS).id);
  // 2, 1.5, then 1 (its own 2 halved, and the first of three equals), then the next of them.
  expect(said).toEqual([0, 4, 0, 0]);
});

test('the same seed says the same, another seed something else', () => {
  const many = (seed: number) => {
    const sampler = new Sampler({ ...OFF, temperature: 1, seed });
    return Array.from({ length: 50 }, () => sampler.next(LOGITS).id);
  };
  expect(many(3)).toEqual(many(3));
  expect(many(4)).not.toEqual(many(3));
});

test('scores that are no numbers are a named error', () => {
  for (const bad of [NaN, Infinity]) {
    const logits = Float32Array.from([1, bad, 0]);
    expect(() => new Sampler({ ...OFF, temperature: 1 }).next(logits)).toThrowError(
      expect.objectContaining({ code: 'generation/not-a-number' }),
    );
  }
});

test('the largest come first, as sorting would have them', () => {
  const random = new Random(5);
  const values = Float64Array.from({ length: 500 }, () => random.uniform());
  const sorted = [...values.keys()].sort((a, b) => values[b]! - values[a]!);
  const largest = new LargestFirst(values.length);
  for (const count of [1, 2, 50, 499, 500, 900]) {
    expect([...largest.of(values, count, 0)]).toEqual(sorted.slice(0, count));
    const above = sorted.filter((i) => values[i]! >= 0.7);
    expect([...largest.of(values, count, 0.7)]).toEqual(above.slice(0, count));
  }
});
