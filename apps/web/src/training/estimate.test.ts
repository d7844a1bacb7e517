import { expect, test } from 'vitest';
import type { Judgement } from '@rapport/core';
import type { Plan } from '../workers/plan.ts';
import { estimateSeconds } from './estimate.ts';

const plan: Plan = {
  backend: 'wasm',
  budgetTokens: 448,
  fullRound: true,
  speed: { tokenMs: 10, loadMs: 2000 },
};

/** Rankings of two replies of 80 tokens; those of old rows and imports do not say their tokens. */
function rankings(count: number, { told = true, from = 0 } = {}): Judgement[] {
  const tokens = Array.from({ length: 80 }, (_, i) => i);
  const reply = { text: 'word '.repeat(64), ...(told && { provenance: { tokens } }) };
  return Array.from({ length: count }, (_, i) => {
    const prompt = [{ role: 'user', content: `prompt ${from + i}` }];
    return { type: 'ranking', body: { prompt, replies: [reply, reply], ranks: [1, 2] } };
  }) as unknown as Judgement[];
}

function votes(count: number): Judgement[] {
  return rankings(count).map(({ body }, i) => {
    const [reply] = (body as unknown as { replies: [unknown] }).replies;
    return { type: 'vote', body: { prompt: body.prompt, reply, value: i % 2 ? 1 : -1 } };
  }) as unknown as Judgement[];
}

const set = { lessons: rankings(48), heldOut: rankings(12, { from: 48 }) };

test('a run of DPO takes what its steps take, and reading and comparing beside them', () => {
  const seconds = estimateSeconds(plan, 'dpo', set)!;
  // 32 steps of 4 prompts, 2 replies of about 100 tokens with their prompt, 10 ms each: 256 s.
  expect(seconds).toBeGreaterThan(256);
  expect(seconds).toBeLessThan(2 * 256);
});

test('what is learned from is in it, and how fast the device is', () => {
  const seconds = estimateSeconds(plan, 'dpo', set)!;
  const fast = { ...plan, speed: { tokenMs: 1, loadMs: 200 } };
  expect(estimateSeconds(fast, 'dpo', set)).toBeCloseTo(seconds / 10, 6);
  expect(estimateSeconds(plan, 'dpo', { ...set, lessons: rankings(20) })).toBeLessThan(seconds);
  expect(estimateSeconds(plan, 'ppo', set)).toBeGreaterThan(1.5 * seconds);
  const thumbs = { lessons: votes(32), heldOut: votes(8) };
  const more = { ...thumbs, lessons: votes(64) };
  expect(estimateSeconds(plan, 'kto', more)).toBeGreaterThan(estimateSeconds(plan, 'kto', thumbs)!);
});

test('a ranking too large for one run is learned from as pairs of neighbours', () => {
  const wide = (count: number) =>
    rankings(count).map(({ body }) => {
      const [reply] = (body as { replies: unknown[] }).replies;
      const four = { prompt: body.prompt, replies: Array(4).fill(reply), ranks: [2, 1, 3, 4] };
      return { type: 'ranking', body: four };
    }) as unknown as Judgement[];
  const learn = (budgetTokens: number, lessons: Judgement[]) =>
    estimateSeconds({ ...plan, budgetTokens }, 'dpo', { lessons, heldOut: [] })!;
  // 28 steps of two rankings, so of four replies or of eight; or, where they are cut up into three pairs each, 64 steps of four.
  const reply = 96 * 0.01 * 1.15;
  const reading = (4 - 2) * 48;
  const pairs = learn(1024, rankings(48));
  const more = (budgetTokens: number) => (learn(budgetTokens, wide(48)) - pairs) / reply;
  expect(more(1024) / (reading + 28 * 8 - 28 * 4)).toBeCloseTo(1, 1);
  expect(more(300) / (reading + 64 * 4 - 28 * 4)).toBeCloseTo(1, 1);
});

test('replies that do not say their tokens are estimated by their text', () => {
  const seconds = estimateSeconds(plan, 'dpo', set)!;
  const old = { lessons: rankings(48, { told: false }), heldOut: [] };
  const ratio = estimateSeconds(plan, 'dpo', old)! / seconds;
  expect(ratio).toBeGreaterThan(0.7);
  expect(ratio).toBeLessThan(1.1);
  const strange = [
    { type: 'vote', body: { prompt: [], reply: { text: '', provenance: {} }, value: 1 } },
  ] as unknown as Judgement[];
  for (const method of ['dpo', 'kto', 'ppo'] as const) {
    expect(estimateSeconds(plan, method, { lessons: [], heldOut: [] })).toBeGreaterThan(0);
    expect(estimateSeconds(plan, method, { lessons: strange, heldOut: strange })).toBeLessThan(900);
  }
});

test('without a measured speed nothing is said', () => {
  const { speed: _speed, ...usual } = plan;
  expect(estimateSeconds(usual, 'dpo', set)).toBeUndefined();
});
