// The methods on a seeded two-layer model with 64 tokens: small, real, and fast enough to be checked whole.
import { beforeAll, describe, expect, it } from 'vitest';
import { Random } from '@rapport/core';
import type { Adapter, Checkpoint, Runtime } from '@rapport/core';
import { nodeRuntime } from '../../../../tests/support/node-runtime.ts';
import { tinyCheckpoint } from '../../../../tests/support/tiny.ts';
import { Speaker } from '../rollout/speaker.ts';
import { parametersOf } from './adapter.ts';
import type { CourseState, Keeping } from './course.ts';
import { trainDpo } from './dpo.ts';
import type { DpoRecord } from './dpo.ts';
import { dpoDefaults } from './dpo.ts';
import { ktoDefaults, trainKto } from './kto.ts';
import { runPipeline } from './pipeline.ts';
import type { PipelineRecord, PipelineResult, PipelineSpec } from './pipeline.ts';
import { Policy } from './policy.ts';
import { ppoDefaults } from './ppo.ts';
import type { PpoRecord } from './ppo.ts';

const END = 2;
let checkpoint: Checkpoint;
let runtime: Runtime;

beforeAll(async () => {
  checkpoint = await tinyCheckpoint('llama-tied');
  runtime = await nodeRuntime(checkpoint);
});

const words = (random: Random, count: number) =>
  Array.from({ length: count }, () => 3 + random.integer(60));

/** Rankings by a person who likes token 7. */
function rankings(count: number, random: Random) {
  return Array.from({ length: count }, () => {
    const replies = Array.from({ length: 4 }, () => [...words(random, 3 + random.integer(6)), END]);
    const likes = replies.map((r) => r.filter((id) => id % 8 === 7).length);
    return {
      prompt: words(random, 5),
      replies,
      ranks: likes.map((l) => 1 + likes.filter((other) => other > l).length),
    };
  });
}

const rowsOf = (count: number, random: Random) =>
  Array.from({ length: count }, () => ({
    prompt: words(random, 4),
    reply: [...words(random, 6), END],
  }));

async function collect<R, T>(run: AsyncGenerator<R, T>): Promise<{ records: R[]; result: T }> {
  const records: R[] = [];
  for (;;) {
    const next = await run.next();
    if (next.done) return { records, result: next.value };
    records.push(next.value);
  }
}

async function dpo(
  seed: number,
  keeping: Keeping = {},
): Promise<{ records: DpoRecord[]; result: Adapter }> {
  const random = new Random(5);
  const policy = new Policy(checkpoint, runtime);
  const prepared = [];
  for (const { prompt, replies, ranks } of rankings(12, random)) {
    const rows = await policy.withTrunk(replies.map((reply) => ({ prompt, reply })));
    const scores = await policy.score(rows, null);
    prepared.push({
      rows,
      ranks,
      refSums: scores.map((s) => s.logprobs.reduce((a, b) => a + b, 0)),
    });
  }
  const text = await policy.withTrunk(rowsOf(6, random));
  const config = { ...dpoDefaults, lrPeak: 0.02, minSteps: 20, seed };
  const out = await collect(trainDpo(policy, prepared, text, config, undefined, keeping));
  await policy.dispose();
  return out;
}

describe('rollouts', () => {
  it('have the likelihood the training graph gives them, and the same seed the same replies', async () => {
    const random = new Random(9);
    const prompts = [words(random, 4), words(random, 9)];
    const speaker = await Speaker.create(checkpoint, runtime, {
      endOfTurn: END,
      fromLayer: 1,
      slots: 3,
    });
    const options = { temperature: 1, maxTokens: 80, replies: 3, seed: 1, adapter: null };
    const first = (await collect(speaker.sample(prompts, options))).result;
    expect((await collect(speaker.sample(prompts, options))).result).toEqual(first);
    const greedy = (
      await collect(speaker.sample(prompts, { ...options, temperature: 0, replies: 1 }))
    ).result;
    await speaker.dispose();
    // Greedy replies: no other token is likelier, by the graph that has no cache.
    const policy = new Policy(checkpoint, runtime);
    for (const [{ prompt, tokens }] of greedy as [(typeof greedy)[0][0]][]) {
      const t = Math.min(tokens.length - 1, 70);
      const rows = await policy.withTrunk(
        Array.from({ length: 64 }, (_, id) => ({ prompt, reply: [...tokens.slice(0, t), id] })),
      );
      const at = (await policy.score(rows, null)).map((s) => s.logprobs[t]!);
      expect(at.indexOf(Math.max(...at))).toBe(tokens[t]);
    }
    await policy.dispose();
  });
});

describe('DPO', () => {
  it('starts at ln 2, learns the order, and repeats bit for bit', async () => {
    const { records, result } = await dpo(1);
    expect(records[0]!.loss).toBeCloseTo(Math.LN2, 5);
    expect(records.at(-1)!.loss).toBeLessThan(0.6);
    expect(records.at(-1)!.accuracy).toBeGreaterThan(0.8);
    const again = await dpo(1);
    expect([...parametersOf(again.result)]).toEqual([...parametersOf(result)]);
  });

  it('goes on from any saved step to the same adapter, bit for bit', async () => {
    const saved: CourseState[] = [];
    const save = (state: CourseState) => Promise.resolve(void saved.push(state));
    const whole = await dpo(1, { save, everySteps: 7 });
    expect(saved.map(({ step }) => step)).toEqual([7, 14]);
    for (const resume of saved) {
      const { records, result } = await dpo(1, { resume: structuredClone(resume) });
      expect(records.map(({ step }) => step)[0]).toBe(resume.step + 1);
      expect([...parametersOf(result)]).toEqual([...parametersOf(whole.result)]);
    }
  });
});

describe('KTO', () => {
  it('goes on from a saved step to the same adapter, bit for bit', async () => {
    const random = new Random(8);
    const thumbs = rowsOf(12, random).map((row, i) => ({ ...row, good: i % 2 === 0 }));
    const kto = async (keeping: Keeping) => {
      const policy = new Policy(checkpoint, runtime);
      const text = await policy.withTrunk(rowsOf(4, new Random(2)));
      const config = { ...ktoDefaults, seed: 4 };
      const out = await collect(trainKto(policy, thumbs, text, config, undefined, keeping));
      await policy.dispose();
      return [...parametersOf(out.result)];
    };
    const saved: CourseState[] = [];
    const save = (state: CourseState) => Promise.resolve(void saved.push(state));
    const whole = await kto({ save, everySteps: 3 });
    expect(await kto({ resume: structuredClone(saved[0]!) })).toEqual(whole);
  });
});

describe('the pipeline', () => {
  const random = new Random(3);
  const spec: PipelineSpec = {
    rankings: rankings(16, random),
    text: rowsOf(8, random),
    heldOutText: rowsOf(4, random),
    method: 'ppo',
    seed: 1,
    dpo: { minSteps: 4, maxSteps: 4 },
    ppo: { ...ppoDefaults, iterations: 2, maxTokens: 12, promptsPerIteration: 4 },
  };
  const platform = () => ({ checkpoint, runtime, endOfTurn: END, now: () => performance.now() });
  const isPpo = (r: PipelineRecord): r is PpoRecord => r.stage === 'ppo';

  it.each(['ppo', 'rloo'] as const)('%s starts every first minibatch at ρ = 1', async (method) => {
    const { records, result } = await collect<PipelineRecord, PipelineResult>(
      runPipeline({ ...spec, method }, platform()),
    );
    const steps = records.filter(isPpo);
    expect(steps).toHaveLength(2);
    for (const step of steps) expect(step.firstRatioError).toBeLessThan(1e-5);
    expect(Number.isFinite(result.measures.nllChange)).toBe(true);
    expect([...parametersOf(result.adapter)]).not.toEqual([...parametersOf(result.warmStart)]);
  });

  it('goes on from a checkpoint to the same adapter', async () => {
    const saved: object[] = [];
    const save = (checkpointed: object) => Promise.resolve(void saved.push(checkpointed));
    const whole = await collect(runPipeline(spec, { ...platform(), save }));
    const resumed = await collect(runPipeline(spec, { ...platform(), resume: saved[1]! }));
    expect([...parametersOf(resumed.result.adapter)]).toEqual([
      ...parametersOf(whole.result.adapter),
    ]);
    expect(resumed.records.some((r) => r.stage === 'dpo')).toBe(false);
  });

  it('stops when it is told to', async () => {
    const stop = new AbortController();
    const run = runPipeline(spec, platform(), stop.signal);
    await run.next();
    stop.abort();
    await expect(collect(run)).rejects.toThrow('aborted');
  });
});
