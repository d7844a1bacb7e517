import { expect, test } from 'vitest';
import { Sampler } from './sampler.ts';

const logits = Float32Array.from([2, 1, 0, -1]);
const plain = { topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, maxTokens: 9, seed: 3 };
const softmax = (xs: number[], t: number) => {
  const e = xs.map((x) => Math.exp(x / t));
  return e.map((x) => x / e.reduce((a, b) => a + b));
};
const many = (sampling: Partial<typeof plain> & { temperature: number }, said: number[] = []) => {
  const sampler = new Sampler({ ...plain, ...sampling });
  return Array.from({ length: 4000 }, () => sampler.next(logits, said).id);
};
const share = (ids: number[], id: number) => ids.filter((x) => x === id).length / ids.length;

test('greedy takes the likeliest, with its log-prob at temperature 1', () => {
  const { id, logprob } = new Sampler({ ...plain, temperature: 0 }).next(logits, []);
  expect(id).toBe(0);
  expect(logprob).toBeCloseTo(Math.log(softmax([2, 1, 0, -1], 1)[0]!), 6);
});

test('tokens come with the shares of the temperature-scaled softmax', () => {
  const ids = many({ temperature: 0.7 });
  softmax([2, 1, 0, -1], 0.7).forEach((p, id) => expect(share(ids, id)).toBeCloseTo(p, 1));
});

test('the same seed says the same', () => {
  expect(many({ temperature: 1 })).toEqual(many({ temperature: 1 }));
  expect(many({ temperature: 1, seed: 4 })).not.toEqual(many({ temperature: 1 }));
});

test.each([
  ['top-k', { topK: 2 }, [0, 1]],
  ['top-p', { topP: 0.7 }, [0, 1]],
  ['min-p', { minP: 0.2 }, [0, 1]],
])('%s cuts off the tail', (_name, sampling, kept) => {
  expect([...new Set(many({ temperature: 1, ...sampling }))].sort()).toEqual(kept);
});

test('what was said becomes less likely', () => {
  const ids = many({ temperature: 1, repetitionPenalty: 3 }, [0]);
  expect(share(ids, 0)).toBeLessThan(share(many({ temperature: 1 }), 0) / 1.5);
});
