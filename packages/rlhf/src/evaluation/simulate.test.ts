// A whole simulation on the seeded two-layer model: nobody can be taught anything by it, but every stage runs and every
// number is made.
import { expect, it } from 'vitest';
import { buildTokenizer } from '@rapport/core';
import { nodeRuntime } from '../../../../tests/support/node-runtime.ts';
import { tinyCheckpoint } from '../../../../tests/support/tiny.ts';
import { bestOfKl, simulate } from './simulate.ts';
import type { SimulationRecord, SimulationSpec } from './simulate.ts';

const lines = (count: number) =>
  Array.from({ length: count }, (_, i) => ({
    id: String(i),
    instruction: `say ${'abcdefghijkl'[i]!}`,
    output: 'abc '.repeat(1 + (i % 3)),
  }));

async function run(change: Partial<SimulationSpec>, seen: SimulationRecord[] = []) {
  const checkpoint = await tinyCheckpoint('llama-tied');
  const tokenizer = await buildTokenizer(checkpoint.tokenizer);
  const spec: SimulationSpec = {
    annotator: (_, reply) => reply.split('a').length,
    prompts: lines(9),
    demonstrations: lines(12),
    method: 'ppo',
    votes: 24,
    replies: 4,
    noise: 0,
    seed: 1,
    maxTokens: 16,
    judgedPrompts: 3,
    judgedSamples: 4,
    dpo: { minSteps: 4, maxSteps: 4, lrPeak: 0.02 },
    ppo: { iterations: 1, maxTokens: 12, promptsPerIteration: 4, klStop: 1e9, lengthStop: 0 },
    ...change,
  };
  const simulation = simulate(spec, {
    checkpoint,
    tokenizer,
    runtime: await nodeRuntime(checkpoint),
    endOfTurn: tokenizer.endOfTurn,
    now: () => performance.now(),
  });
  for (;;) {
    const next = await simulation.next();
    if (next.done) return next.value;
    seen.push(next.value);
  }
}

it('judges the warm start scaled to the distance of the result beside it', async () => {
  const { warmStart, control, kl, winRate } = await run({ control: true });
  expect(winRate).toBeGreaterThanOrEqual(0);
  expect(warmStart!.winRate).toBeLessThanOrEqual(1);
  expect(control!.scale).toBeGreaterThan(0);
  expect(control!.low).toBeLessThanOrEqual(control!.winRate);
  expect(Number.isFinite(control!.nllChange)).toBe(true);
  for (const x of [kl, control!.kl]) expect(Number.isFinite(x)).toBe(true);
});

it('of best-of-N reports the KL that choosing costs, though the policy is the base', async () => {
  expect(bestOfKl(1)).toBe(0);
  expect(bestOfKl(4)).toBeCloseTo(0.6362943611, 10);
  const { kl, nllChange, winRate } = await run({ method: 'bestofn' });
  // Replies are of 1 to 16 tokens.
  expect(kl).toBeGreaterThanOrEqual(bestOfKl(4) / 16);
  expect(kl).toBeLessThan(bestOfKl(4));
  expect(nllChange).toBe(0);
  expect(winRate).toBeGreaterThan(0);
});

it('counts replies that say nothing and replies that say the same again and again', async () => {
  const checkpoint = await tinyCheckpoint('llama-tied');
  const tokenizer = await buildTokenizer(checkpoint.tokenizer);
  const { endOfTurn } = tokenizer;
  const encode = (text: string) => tokenizer.encode(text);
  const reply = (tokens: number[]) => ({ prompt: [5], tokens, ended: tokens.at(-1) === endOfTurn });
  const loop = Array.from({ length: 30 }, (_, i) => encode('ab')[i % 2]!);
  const said = [reply([endOfTurn]), reply(loop), reply([...encode('abc'), endOfTurn])];
  const sampled = {
    voted: Array.from({ length: 6 }, () => said),
    base: Array.from({ length: 3 }, () => [...said, said[2]!]),
  };
  const spec = { method: 'dpo', votes: 18, replies: 3, sampled } as const;
  const counted = await run(spec);
  expect(counted).toMatchObject({ baseEmpty: 0.25, baseRepeated: 0.25, baseEnded: 0.75 });
  for (const share of [counted.empty, counted.repeated]) {
    expect(share).toBeGreaterThanOrEqual(0);
    expect(share).toBeLessThanOrEqual(1);
  }
});

it('refuses a person whose scores are no numbers', async () => {
  const annotator = (() => Promise.resolve(1)) as unknown as SimulationSpec['annotator'];
  await expect(run({ annotator })).rejects.toThrow(
    expect.objectContaining({ code: 'simulate/bad-score' }),
  );
});

it('takes as many thumbs as were asked for, whatever they answer', async () => {
  const seen: SimulationRecord[] = [];
  await run({ method: 'kto', votes: 10, kto: { minSteps: 1, batch: 2 } }, seen);
  expect(seen.filter(({ stage }) => stage === 'kto').map(({ of }) => of)).toEqual([5, 5, 5, 5, 5]);
});

it('has no control where nothing follows the warm start, and none that was not asked for', async () => {
  expect(await run({ method: 'dpo', control: true })).not.toHaveProperty('control');
  expect(await run({})).not.toHaveProperty('control');
});

it('judges the result at several scales where that was asked for', async () => {
  const { frontier, wins } = await run({ method: 'dpo', frontier: true });
  expect(frontier!.map(({ scale }) => scale)).toEqual([0.25, 0.5, 0.75, 1, 1.5, 2]);
  // Near the base costs little, far from it much.
  expect(Math.abs(frontier![0]!.nllChange)).toBeLessThan(Math.abs(frontier![5]!.nllChange));
  expect(Math.abs(frontier![0]!.kl)).toBeLessThan(frontier![5]!.kl);
  expect(new Set(frontier!.map(({ reward }) => reward)).size).toBeGreaterThan(1);
  expect(wins).toHaveLength(3);
  expect(await run({ method: 'dpo' })).not.toHaveProperty('frontier');
});
