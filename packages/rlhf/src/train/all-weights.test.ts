// All weights of the tiny models: their gradients against finite differences, what training them comes to.
import { beforeAll, describe, expect, it } from 'vitest';
import { float32, int64, Random } from '@rapport/core';
import type { Checkpoint, Runtime } from '@rapport/core';
import { nodeRuntime } from '../../../../tests/support/node-runtime.ts';
import { tinyCheckpoint } from '../../../../tests/support/tiny.ts';
import { crossEntropy } from '../losses/policy.ts';
import { dpoLoss } from '../losses/preference.ts';
import { globalNorm } from '../optim/adamw.ts';
import type { Parameters } from '../optim/adamw.ts';
import { allWeightsDefaults, trainAllWeights, weightsOf, WeightTrainer } from './all-weights.ts';
import type { AllWeightsConfig, AllWeightsRecord } from './all-weights.ts';
import { logprobOf, Policy } from './policy.ts';
import { plainReading, readingFeeds } from './readings.ts';
import type { Row } from './rows.ts';

const random = new Random(3);
const ids = (count: number) => Array.from({ length: count }, () => 3 + random.integer(60));
const rows: Row[] = [4, 9, 2, 7].map((n) => ({ prompt: ids(3 + (n % 4)), reply: ids(n) }));
const tokens = rows.reduce((n, { reply }) => n + reply.length, 0);

describe.each(['llama-tied', 'llama-untied-biased', 'qwen3-untied', 'gpt2'] as const)(
  'of %s',
  (name) => {
    let checkpoint: Checkpoint;
    let runtime: Runtime;
    beforeAll(async () => {
      checkpoint = await tinyCheckpoint(name);
      runtime = await nodeRuntime(checkpoint);
    });

    it('every gradient equals finite differences, along itself and along a random direction', async () => {
      const trainer = await WeightTrainer.open(checkpoint, runtime, (p) => ({
        loss: crossEntropy(p.logprobs, p.input('weight', 'float32', ['N'])),
      }));
      const feeds = { weight: float32([tokens], new Float32Array(tokens).fill(1 / tokens)) };
      const weights = await weightsOf(checkpoint);
      const gradients: Parameters = new Map();
      await trainer.run(rows, weights, feeds, gradients);
      expect([...gradients.keys()].sort()).toEqual([...checkpoint.tensors.keys()].sort());

      const lossAt = async (tensor: string, direction: Float32Array, by: number) => {
        const moved = weights.get(tensor)!.map((w, i) => w + by * direction[i]!);
        const there = new Map([...weights, [tensor, moved]]);
        return Number((await trainer.run(rows, there, feeds, new Map()))['loss']!.data[0]);
      };
      for (const [tensor, g] of gradients) {
        const norm = globalNorm(new Map([[tensor, g]]));
        expect(norm).toBeGreaterThan(0);
        for (const direction of [g, g.map(() => random.uniform() - 0.5)].map(ofLengthOne)) {
          const at = (by: number) => lossAt(tensor, direction, by);
          const step = 0.01;
          const [a, b, c, d] = [
            await at(step),
            await at(-step),
            await at(2 * step),
            await at(-2 * step),
          ];
          const numeric = (8 * (a - b) - (c - d)) / (12 * step);
          const analytic = g.reduce((sum, x, i) => sum + x * direction[i]!, 0);
          expect(Math.abs(numeric - analytic), tensor).toBeLessThan(2e-3 * norm + 1e-4);
        }
      }
      await trainer.dispose();
    });

    it('SFT lowers the loss, and the checkpoint it returns is the trained one', async () => {
      const config = { lrPeak: 0.01, epochs: 8, batch: 2 };
      const { records, trained } = await train(checkpoint, runtime, config);
      expect(records).toHaveLength(16);
      const before = await nll(checkpoint);
      expect(await nll(trained)).toBeLessThan(before - 0.5);
      // The one it was given is as it was.
      expect(await nll(await tinyCheckpoint(name))).toBe(before);
      const again = await train(checkpoint, runtime, config);
      expect(again.records).toEqual(records);
    });
  },
);

it('is trained by the losses of preference too: DPO begins at ln 2 and moves every weight', async () => {
  const checkpoint = await tinyCheckpoint('llama-tied');
  const runtime = await nodeRuntime(checkpoint);
  const policy = new Policy(checkpoint, runtime);
  const refSums = (await policy.score(await policy.withTrunk(rows), null)).map(logprobOf);
  await policy.dispose();
  const trainer = await WeightTrainer.open(checkpoint, runtime, (p) => ({
    loss: dpoLoss(
      p.logratios(),
      {
        better: p.input('better', 'int64', ['P']),
        worse: p.input('worse', 'int64', ['P']),
        weight: p.input('pairWeight', 'float32', ['P']),
      },
      { beta: 0.1 },
    ),
  }));
  const gradients: Parameters = new Map();
  const feeds = {
    ...readingFeeds(
      rows,
      rows.map((row, i) => plainReading(row, i, refSums[i]!)),
    ),
    better: int64([2], [0, 2]),
    worse: int64([2], [1, 3]),
    pairWeight: float32([2], [0.5, 0.5]),
  };
  const out = await trainer.run(rows, await weightsOf(checkpoint), feeds, gradients);
  expect(Math.abs(Number(out['loss']!.data[0]) - Math.LN2)).toBeLessThan(1e-5);
  for (const g of gradients.values()) expect(Math.max(...g.map(Math.abs))).toBeGreaterThan(0);
  await trainer.dispose();
});

async function train(checkpoint: Checkpoint, runtime: Runtime, config: Partial<AllWeightsConfig>) {
  const records: AllWeightsRecord[] = [];
  const all = { ...allWeightsDefaults, ...config };
  const run = trainAllWeights(checkpoint, runtime, rows, all);
  for (;;) {
    const next = await run.next();
    if (next.done) return { records, trained: next.value };
    records.push(next.value);
  }
}

/** Mean negative log-likelihood of the replies' tokens, by the graphs that score. */
async function nll(checkpoint: Checkpoint): Promise<number> {
  const policy = new Policy(checkpoint, await nodeRuntime(checkpoint));
  const scores = await policy.score(await policy.withTrunk(rows), null);
  await policy.dispose();
  return -scores.reduce((sum, score) => sum + logprobOf(score), 0) / tokens;
}

function ofLengthOne(x: Float32Array): Float32Array {
  const norm = Math.hypot(...x);
  return x.map((xi) => xi / norm);
}
