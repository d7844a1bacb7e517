// The mix with ordinary text and the one step that follows: InstructGPT eq. 2 (PPO-ptx), on the seeded two-layer model.
import { beforeAll, describe, expect, it } from 'vitest';
import { float32, op, Random } from '@rapport/core';
import type { Adapter, Checkpoint, Runtime } from '@rapport/core';
import { randomAdapter } from '../../../../tests/support/adapters.ts';
import { nodeRuntime } from '../../../../tests/support/node-runtime.ts';
import { tinyCheckpoint } from '../../../../tests/support/tiny.ts';
import { crossEntropy } from '../losses/policy.ts';
import { AdamW, clipNorm, globalNorm } from '../optim/adamw.ts';
import type { Parameters } from '../optim/adamw.ts';
import { parametersOf } from './adapter.ts';
import { Course } from './course.ts';
import { runPipeline } from './pipeline.ts';
import type { PipelineCheckpoint, PipelineSpec } from './pipeline.ts';
import { Policy } from './policy.ts';
import type { PolicyTrainer } from './policy.ts';
import type { PpoRecord, PpoState } from './ppo.ts';
import type { TrunkRow } from './rows.ts';
import { advance, mixText } from './step.ts';

const END = 2;
const BALANCE = 0.5;
const PTX = { ptxBalance: BALANCE, ptxRows: 3 };
let checkpoint: Checkpoint;
let runtime: Runtime;
let policy: Policy;
let trainer: PolicyTrainer;
let text: TrunkRow[];
let adapter: Adapter;

const random = new Random(3);
const ids = (count: number) => Array.from({ length: count }, () => 3 + random.integer(60));
const rowsOf = (lengths: readonly number[]) =>
  lengths.map((length) => ({ prompt: ids(4), reply: [...ids(length), END] }));

beforeAll(async () => {
  checkpoint = await tinyCheckpoint('llama-tied');
  runtime = await nodeRuntime(checkpoint);
  // So few tokens at once that the text of a step takes several runs.
  policy = new Policy(checkpoint, runtime, { budgetTokens: 30 });
  text = await policy.withTrunk(rowsOf([4, 9, 2, 7, 12, 5]));
  adapter = randomAdapter(policy.sites, { rank: 4, alpha: 8, seed: 2 });
  trainer = await policy.trainer(4, (p) => {
    const value = p.input('value', 'float32', [1]);
    const nll = crossEntropy(p.logprobs, p.input('textWeight', 'float32', ['N']));
    return { loss: op.add(nll, op.reduceSum(value, [0])), parameters: [value] };
  });
});

const idle = () => ({ value: float32([1], [0]) });

/** A gradient that came from somewhere else. */
function someGradients(): Parameters {
  const from = new Random(8);
  return new Map(
    [...parametersOf(adapter)].map(([name, data]) => [
      name,
      data.map(() => 0.1 * (from.uniform() - 0.5)),
    ]),
  );
}

/** The gradient of the mean NLL of the rows that a seed draws, all in one run. */
async function textGradients(seed: number): Promise<{ loss: number; gradients: Parameters }> {
  const draw = new Random(seed);
  const rows = Array.from({ length: PTX.ptxRows }, () => text[draw.integer(text.length)]!);
  const tokens = rows.reduce((n, { reply }) => n + reply.length, 0);
  const textWeight = float32([tokens], new Float32Array(tokens).fill(1 / tokens));
  const gradients: Parameters = new Map();
  const out = await trainer.run(rows, adapter, { ...idle(), textWeight }, gradients);
  gradients.delete('value');
  return { loss: Number(out['loss']!.data[0]), gradients };
}

describe('the mix', () => {
  it('is g + γ·g_ptx, γ so that the second is as large against the first as the balance says', async () => {
    const mixed = someGradients();
    const found = await mixText(mixed, PTX, text, {
      trainer,
      adapter,
      random: new Random(6),
      idle,
    });
    const [g, { loss, gradients: ptx }] = [someGradients(), await textGradients(6)];
    expect(found.gradientNorm).toBeCloseTo(globalNorm(g), 9);
    expect(found.ptxNorm / globalNorm(ptx)).toBeCloseTo(1, 5);
    expect((found.ptxCoef * found.ptxNorm) / found.gradientNorm).toBeCloseTo(BALANCE, 9);
    expect(found.ptxCoef).toBeCloseTo((BALANCE * globalNorm(g)) / globalNorm(ptx), 5);
    expect([...mixed.keys()]).toEqual([...g.keys()]);
    for (const [name, data] of mixed) {
      const [own, added] = [g.get(name)!, ptx.get(name)!];
      data.forEach((x, i) => {
        expect(Math.abs(x - (own[i]! + found.ptxCoef * added[i]!))).toBeLessThan(1e-6);
      });
    }
    expect(found.ptxLoss).toBeCloseTo(loss, 5);
  });

  it('leaves the gradient as it is where there is no text or no balance', async () => {
    for (const [options, rows] of [
      [{ ...PTX, ptxBalance: 0 }, text],
      [PTX, []],
    ] as const) {
      const mixed = someGradients();
      const given = { trainer, adapter, random: new Random(6), idle };
      const { ptxCoef } = await mixText(mixed, options, rows, given);
      expect(ptxCoef).toBe(0);
      expect([...mixed]).toEqual([...someGradients()]);
    }
  });
});

describe('the step', () => {
  it('is one of AdamW, along the clipped gradient', () => {
    const course = new Course({}, 1, () => structuredClone(adapter));
    const gradients = new Map([...someGradients()].map(([name, g]) => [name, g.map((x) => 9 * x)]));
    const norm = globalNorm(gradients);
    expect(norm).toBeGreaterThan(1);
    const expected = parametersOf(structuredClone(adapter));
    const clipped = structuredClone(gradients);
    clipNorm(clipped, 1);
    new AdamW({ betas: [0.9, 0.99] }).step(expected, clipped, 1e-3);
    const measured = { kl: 0, length: 1, worth: 0 };
    const limits = { klStop: 1, lengthStop: 0 };
    const { gradientNorm, stopped } = advance(course, gradients, 1e-3, { measured, limits });
    expect([gradientNorm, stopped, course.adam.state().step]).toEqual([norm, undefined, 1]);
    expect([...parametersOf(course.adapter)]).toEqual([...expected]);
  });

  it('of PPO-ptx is one for both gradients, balanced, and teaches V nothing', async () => {
    const spec: PipelineSpec = {
      rankings: rowsOf([3, 5, 4, 6]).map(({ prompt, reply }, i) => ({
        prompt,
        replies: [reply, [...ids(2 + i), END]],
        ranks: [1, 2],
      })),
      text: rowsOf([8, 3, 11]),
      heldOutText: rowsOf([6, 6]),
      method: 'ppo',
      seed: 1,
      dpo: { minSteps: 2, maxSteps: 2 },
    };
    const run = async (ptxBalance: number) => {
      const states: PpoState[] = [];
      const save = ({ warmStart, course }: PipelineCheckpoint) => {
        if (warmStart && course) states.push(course as PpoState);
        return Promise.resolve();
      };
      const sizes = { iterations: 1, minibatches: 1, promptsPerIteration: 4, maxTokens: 12 };
      const ppo = { ...sizes, ptxBalance, ptxRows: 3 };
      const platform = { checkpoint, runtime, endOfTurn: END, now: () => performance.now(), save };
      const pipeline = runPipeline({ ...spec, ppo }, platform);
      const records: PpoRecord[] = [];
      for await (const record of pipeline) if (record.stage === 'ppo') records.push(record);
      return { state: states[0]!, record: records[0]! };
    };
    const [alone, mixed] = [await run(0), await run(BALANCE)];
    expect([alone.record.ptxRatio, alone.record.ptxLoss]).toEqual([0, 0]);
    expect(mixed.record.ptxRatio).toBeCloseTo(BALANCE, 9);
    expect(mixed.record.ptxLoss).toBeGreaterThan(0);
    expect(mixed.record.gradientNorm).not.toBe(alone.record.gradientNorm);
    expect([mixed.state.adam.step, mixed.state.valueAdam.step]).toEqual([1, 1]);
    expect([...parametersOf(mixed.state.adapter)]).not.toEqual([
      ...parametersOf(alone.state.adapter),
    ]);
    expect([...mixed.state.value]).toEqual([...alone.state.value]);
    expect(mixed.state.value.get('value.weight')!.some((x) => x !== 0)).toBe(true);
  });
});
