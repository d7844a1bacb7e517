// The methods on a seeded two-layer model with 64 tokens: small, real, and fast enough to be checked whole.
import { deserialize, serialize } from 'node:v8';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { Random } from '@rapport/core';
import type { Adapter, Checkpoint, Runtime } from '@rapport/core';
import { nodeRuntime } from '../../../../tests/support/node-runtime.ts';
import { tinyCheckpoint } from '../../../../tests/support/tiny.ts';
import { tokenWeights } from '../losses/focus.ts';
import { Speaker } from '../rollout/speaker.ts';
import { parametersOf } from './adapter.ts';
import type { CourseState, Keeping } from './course.ts';
import { trainDpo } from './dpo.ts';
import { dpoDefaults } from './dpo.ts';
import type { DpoConfig, DpoRecord, PreparedRanking } from './dpo.ts';
import type { Stop } from './guards.ts';
import { ktoDefaults, trainKto } from './kto.ts';
import type { Thumb } from './kto.ts';
import { pairsOf } from './rankings.ts';
import { runPipeline } from './pipeline.ts';
import type {
  PipelineCheckpoint,
  PipelineRecord,
  PipelineResult,
  PipelineSpec,
} from './pipeline.ts';
import { logprobOf, Policy, PolicyTrainer } from './policy.ts';
import type { PolicyOptions, RowStates } from './policy.ts';
import type { PpoRecord } from './ppo.ts';
import { featuresOf, rewardOf } from './reward.ts';

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

const sum = (x: ArrayLike<number>) => Array.from(x).reduce((a, b) => a + b, 0);

/** Twelve rankings with their trunk outputs and what the reference says. */
async function prepare(policy: Policy, random: Random): Promise<PreparedRanking[]> {
  const prepared: PreparedRanking[] = [];
  for (const { prompt, replies, ranks } of rankings(12, random)) {
    const rows = await policy.withTrunk(replies.map((reply) => ({ prompt, reply })));
    const scores = await policy.score(rows, null);
    prepared.push({ rows, ranks, refLogprobs: scores.map(({ logprobs }) => logprobs) });
  }
  return prepared;
}

async function dpo(
  config: Partial<DpoConfig>,
  keeping: Keeping = {},
  options: PolicyOptions = {},
): Promise<{ records: DpoRecord[]; result: Adapter; stopped?: Stop }> {
  const random = new Random(5);
  const policy = new Policy(checkpoint, runtime, options);
  const prepared = await prepare(policy, random);
  const text = await policy.withTrunk(rowsOf(6, random));
  const whole = { ...dpoDefaults, lrPeak: 0.02, minSteps: 20, ...config };
  const { records, result } = await collect(
    trainDpo(policy, prepared, text, whole, undefined, keeping),
  );
  await policy.dispose();
  const { adapter, ...rest } = result;
  return { records, result: adapter, ...rest };
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

describe('scores that are only read', () => {
  it('read no row again that has its trunk, and keep what else is known of it', async () => {
    const policy = new Policy(checkpoint, runtime);
    const rows = rowsOf(3, new Random(1)).map((row, i) => ({ ...row, good: i > 0 }));
    const [first] = await policy.withTrunk(rows.slice(0, 1));
    const read = await policy.withTrunk([first!, ...rows.slice(1)]);
    expect(read[0]).toBe(first);
    expect(read.map(({ good }) => good)).toEqual([false, true, true]);
    await policy.dispose();
  });

  it('are the same numbers, and their states live no longer than a batch', async () => {
    let [live, most] = [0, 0];
    const watched: Runtime = {
      async load(graph, weights) {
        const session = await runtime.load(graph, weights);
        const run: typeof session.run = async (feeds, options) => {
          const out = await session.run(feeds, options);
          most = Math.max(most, (live += out['hidden']?.data.byteLength ?? 0));
          return out;
        };
        return { run, dispose: () => session.dispose() };
      },
    };
    const policy = new Policy(checkpoint, watched, { budgetTokens: 60 });
    const rows = await policy.withTrunk(rowsOf(24, new Random(4)));
    const scores = await policy.score(rows, null);
    const { hidden } = checkpoint.config;
    live = most = 0;
    const read = (score: RowStates) => {
      live -= score.hidden.byteLength;
      return featuresOf(score);
    };
    expect(await policy.scoresAs(rows, null, read)).toEqual(scores.map(featuresOf));
    expect(await policy.statesAs(rows, read)).toEqual(scores.map(featuresOf));
    expect(live).toBe(0);
    expect(most).toBeLessThanOrEqual(3 * 4 * 60 * hidden);
    await policy.dispose();
  });

  it('are of the end and of the middle of the model', async () => {
    const policy = new Policy(checkpoint, runtime);
    const { hidden: size, layers } = checkpoint.config;
    expect(policy.place.fromLayer).toBe(layers / 2);
    const rows = await policy.withTrunk(rowsOf(5, new Random(4)));
    const states = await policy.statesAs(rows, ({ hidden }) => hidden);
    for (const [r, { prompt, trunk }] of rows.entries()) {
      const middle = states[r]!.filter((_, i) => i % (3 * size) >= 2 * size);
      expect(middle).toEqual(trunk.subarray((prompt.length - 1) * size));
    }
    await policy.dispose();
  });

  it.each(['dpo', 'kto', 'ppo'] as const)('are all that %s keeps of judgements', async (method) => {
    const random = new Random(3);
    const kept = vi.spyOn(Policy.prototype, 'score');
    const rollouts = vi.spyOn(Speaker.prototype, 'sample');
    const run = runPipeline(
      {
        rankings: rankings(8, random),
        thumbs: rowsOf(8, random).map((row, i) => ({ ...row, good: i % 2 === 0 })),
        text: rowsOf(2, random),
        heldOutText: rowsOf(2, random),
        method,
        seed: 1,
        dpo: { minSteps: 1 },
        kto: { minSteps: 1 },
        ppo: { iterations: 1, maxTokens: 8, promptsPerIteration: 2, repliesPerPrompt: 2 },
      },
      { checkpoint, runtime, endOfTurn: END, now: () => performance.now() },
    );
    await collect(run);
    // What is left are the rollouts of PPO, of one iteration at a time and of the end.
    const rowsKept = kept.mock.calls.map(([rows]) => rows.length);
    expect(rowsKept).toEqual(method === 'ppo' ? [4, 4, 2, 2] : []);
    expect(rollouts).toHaveBeenCalledTimes(method === 'ppo' ? 2 : 0);
    vi.restoreAllMocks();
  });
});

describe('DPO', () => {
  it('starts at ln 2, learns the order, and repeats bit for bit', async () => {
    const { records, result } = await dpo({ seed: 1 });
    expect(records[0]!.loss).toBeCloseTo(Math.LN2, 5);
    expect(records.at(-1)!.loss).toBeLessThan(0.6);
    expect(records.at(-1)!.accuracy).toBeGreaterThan(0.8);
    const again = await dpo({ seed: 1 });
    expect([...parametersOf(again.result)]).toEqual([...parametersOf(result)]);
  });

  it.each<[Partial<DpoConfig>, number]>([
    [{ labelSmoothing: 0.1 }, Math.LN2],
    [{ lengthNormalised: true, beta: 1 }, Math.LN2],
    [{ kind: 'ipo', beta: 0.1 }, 25],
  ])('with %j starts at %d and learns the order', async (config, first) => {
    const { records } = await dpo({ seed: 1, ...config });
    expect(records[0]!.loss / first).toBeCloseTo(1, 5);
    expect(records.at(-1)!.accuracy).toBeGreaterThan(0.8);
  });

  it('goes on from any saved step to the same adapter, bit for bit', async () => {
    const saved: CourseState[] = [];
    const save = (state: CourseState) => Promise.resolve(void saved.push(state));
    const whole = await dpo({ seed: 1 }, { save, everySteps: 7 });
    expect(saved.map(({ step }) => step)).toEqual([7, 14]);
    for (const resume of saved) {
      const { records, result } = await dpo({ seed: 1 }, { resume: structuredClone(resume) });
      expect(records.map(({ step }) => step)[0]).toBe(resume.step + 1);
      expect([...parametersOf(result)]).toEqual([...parametersOf(whole.result)]);
    }
  });

  it('takes 28 steps of a small set, one epoch of a large one, and more epochs where they are asked for', async () => {
    const steps = async (config: Partial<DpoConfig>) =>
      (await dpo({ promptsPerStep: 4, ...config })).records.length;
    const { minSteps } = dpoDefaults;
    expect([minSteps, await steps({ minSteps })]).toEqual([28, 28]);
    // Twelve rankings at most, four at a time: three steps an epoch.
    expect(await steps({ minSteps: 2 })).toBe(3);
    expect(await steps({ minSteps: 2, epochs: 3 })).toBe(9);
    expect(await steps({ minSteps: 2, epochs: 3, maxSteps: 7 })).toBe(7);
  });

  it('learns from rankings run together what it learns from them one by one', async () => {
    const run = vi.spyOn(PolicyTrainer.prototype, 'run');
    const course = { promptsPerStep: 4, minSteps: 3, chosenNll: 0.2, lrPeak: 0.01 };
    const runs = async (options: PolicyOptions) => {
      const before = run.mock.calls.length;
      const { records, result } = await dpo(course, {}, options);
      return { records, result, count: run.mock.calls.length - before };
    };
    const [together, alone] = [await runs({}), await runs({ budgetTokens: 1 })];
    run.mockRestore();
    // Three steps of four rankings, and one that only measures.
    expect([together.count, alone.count]).toEqual([4, 16]);
    for (const [i, { loss, margin, accuracy, kl }] of together.records.entries()) {
      expect(loss).toBeCloseTo(alone.records[i]!.loss, 4);
      expect(margin).toBeCloseTo(alone.records[i]!.margin, 4);
      expect(kl).toBeCloseTo(alone.records[i]!.kl, 4);
      // Before the first update all log-ratios are 0, or what rounding leaves of it.
      if (i > 0) expect(accuracy).toBe(alone.records[i]!.accuracy);
    }
    expect(together.records[0]!.gradientNorm).toBeCloseTo(alone.records[0]!.gradientNorm, 4);
  });

  it('sees every ranking of a set that its least steps do not hold, once', async () => {
    const random = new Random(6);
    const policy = new Policy(checkpoint, runtime);
    const pairs = Array.from({ length: 201 }, () => ({ prompt: words(random, 5), ranks: [1, 2] }));
    const rows = await policy.withTrunk(
      pairs.flatMap(({ prompt }) => [1, 2].map((n) => ({ prompt, reply: words(random, n) }))),
    );
    const prepared = pairs.map(({ ranks }, i) => ({
      rows: rows.slice(2 * i, 2 * i + 2),
      refLogprobs: [new Float32Array(1), new Float32Array(2)],
      ranks,
    }));
    const run = vi.spyOn(PolicyTrainer.prototype, 'run');
    const { records } = await collect(
      trainDpo(policy, prepared, [], { ...dpoDefaults, promptsPerStep: 4, klStop: Infinity }),
    );
    // Two rows a pair, several pairs a run. What follows the last step is only measured.
    const read = run.mock.calls.flatMap(([rows]) => rows.map(({ prompt }) => prompt.join()));
    const drawn = read.filter((_, i) => i % 2 === 0).slice(0, 201);
    run.mockRestore();
    await policy.dispose();
    expect(records).toHaveLength(51);
    expect(drawn).toHaveLength(201);
    expect(new Set(drawn).size).toBe(201);
  });

  it('holds on to the best replies the more, the more their likelihood weighs', async () => {
    const best = async (chosenNll: number) => {
      const { result } = await dpo({ chosenNll });
      const policy = new Policy(checkpoint, runtime);
      let total = 0;
      for (const { rows, ranks } of await prepare(policy, new Random(5))) {
        const scores = await policy.score(rows, result);
        scores.forEach(({ logprobs }, i) => (total += ranks[i] === 1 ? sum(logprobs) : 0));
      }
      await policy.dispose();
      return total;
    };
    expect(await best(5)).toBeGreaterThan(await best(0));
  });

  it('compares mean log-ratios per token when it is length-normalised', async () => {
    const config = { lengthNormalised: true, beta: 2, promptsPerStep: 12, ptxBalance: 0 };
    const second = (await dpo({ ...config, minSteps: 2, maxSteps: 2 })).records[1]!;
    const { result } = await dpo({ ...config, minSteps: 1, maxSteps: 1 });
    const policy = new Policy(checkpoint, runtime);
    const margins: number[] = [];
    for (const { rows, refLogprobs, ranks } of await prepare(policy, new Random(5))) {
      const after = await policy.score(rows, result);
      const ratios = rows.map(
        (row, i) => (sum(after[i]!.logprobs) - sum(refLogprobs[i]!)) / row.reply.length,
      );
      margins.push(...pairsOf(ranks).map((p) => 2 * (ratios[p.better]! - ratios[p.worse]!)));
    }
    await policy.dispose();
    expect(Math.abs(second.margin)).toBeGreaterThan(1e-3);
    expect(second.margin).toBeCloseTo(sum(margins) / margins.length, 5);
  });
});

describe('DPO that looks at telling tokens', () => {
  it('compares log-ratios weighed for the better and against the worse reply', async () => {
    const policy = new Policy(checkpoint, runtime);
    const random = new Random(5);
    const credited = await Promise.all(
      (await prepare(policy, random)).map(async (ranking) => ({
        ...ranking,
        scores: ranking.refLogprobs.map((all) => Float64Array.from(all, () => random.normal())),
        // Of each third reply the end counts for it, and not against it.
        ends: ranking.ranks.map((_, i) =>
          i % 3 === 0 ? { better: 0.25, worse: 0 } : { better: 1, worse: 1 },
        ),
      })),
    );
    const config = { ...dpoDefaults, focus: 0.8, lrPeak: 0.02, promptsPerStep: 12 };
    const after = (steps: number) =>
      collect(trainDpo(policy, credited, [], { ...config, minSteps: steps, maxSteps: steps }));
    const [first, second] = (await after(2)).records;
    expect(first!.loss).toBeCloseTo(Math.LN2, 5);
    const { adapter } = (await after(1)).result;
    const margins: number[] = [];
    for (const { rows, ranks, scores, refLogprobs } of credited) {
      const after = await policy.score(rows, adapter);
      const weighed = (i: number, kappa: number, end: number) => {
        const weights = tokenWeights(scores[i]!, kappa);
        weights[weights.length - 1]! *= end;
        return sum(weights.map((w, t) => w * (after[i]!.logprobs[t]! - refLogprobs[i]![t]!)));
      };
      for (const { better, worse } of pairsOf(ranks)) {
        const praised = weighed(better, 0.8, better % 3 === 0 ? 0.25 : 1);
        margins.push(config.beta * (praised - weighed(worse, -0.8, worse % 3 === 0 ? 0 : 1)));
      }
    }
    await policy.dispose();
    expect(Math.abs(second!.margin)).toBeGreaterThan(1e-3);
    expect(second!.margin).toBeCloseTo(sum(margins) / margins.length, 5);
  });
});

describe('KTO', () => {
  /** Replies of the tokens a person likes where `isGood`, else of others. */
  const tasteful = (count: number, random: Random, isGood: (i: number) => boolean): Thumb[] =>
    Array.from({ length: count }, (_, i) => {
      const good = isGood(i);
      const pool = [...Array(60).keys()].map((k) => 3 + k).filter((id) => (id % 8 === 7) === good);
      const reply = Array.from({ length: 6 }, () => pool[random.integer(pool.length)]!);
      return { prompt: words(random, 4), reply: [...reply, END], good };
    });

  it('begins at half the weight of a thumb, and takes z from mismatched replies', async () => {
    const policy = new Policy(checkpoint, runtime);
    const thumbs = tasteful(12, new Random(8), (i) => i < 9);
    const course = { lrPeak: 0.03, batch: 12, mismatched: 12, minSteps: 2, warmupSteps: 1 };
    const config = { ...ktoDefaults, ...course, klStop: Infinity };
    const saved: CourseState[] = [];
    const save = (state: CourseState) => Promise.resolve(void saved.push(state));
    const run = trainKto(policy, thumbs, [], config, undefined, { save });
    const [first, second] = (await collect(run)).records;
    // 9 weigh 1 and 3 weigh 9/3 / (4/3): each loss is half of that.
    expect(first!.loss).toBeCloseTo((9 + 3 * 2.25) / 24, 6);
    expect([first!.z, first!.margin!]).toEqual([expect.closeTo(0, 5), expect.closeTo(0, 5)]);

    const order = new Random(config.seed).shuffle(thumbs);
    const mismatched = await policy.withTrunk(
      order.map(({ prompt }, i) => ({ prompt, reply: order[(i + 1) % order.length]!.reply })),
    );
    const [before, after] = [
      await policy.scoresAs(mismatched, null, logprobOf),
      await policy.scoresAs(mismatched, saved[0]!.adapter, logprobOf),
    ];
    const mean = sum(after.map((x, i) => x - before[i]!)) / order.length;
    expect(mean).toBeGreaterThan(0.05);
    expect(second!.z).toBeCloseTo(mean, 4);
    await policy.dispose();
  });

  it('reads a long reply no louder than a short one, unless it is told to', async () => {
    const policy = new Policy(checkpoint, runtime);
    const thumbs = tasteful(12, new Random(8), (i) => i % 2 === 0).map((thumb) =>
      thumb.good ? thumb : { ...thumb, reply: [...thumb.reply.slice(0, -1), ...thumb.reply] },
    );
    const course = { lrPeak: 0.01, batch: 12, minSteps: 2, warmupSteps: 1, klStop: Infinity };
    for (const lengthNormalised of [true, false]) {
      const config = { ...ktoDefaults, ...course, lengthNormalised };
      const saved: CourseState[] = [];
      const save = (state: CourseState) => Promise.resolve(void saved.push(state));
      const run = trainKto(policy, thumbs, [], config, undefined, { save });
      const second = (await collect(run)).records[1]!;
      const rows = await policy.withTrunk(thumbs);
      const before = await policy.scoresAs(rows, null, logprobOf);
      const after = await policy.scoresAs(rows, saved[0]!.adapter, logprobOf);
      // Replies of 7 and 13 tokens, as many of each.
      const gains = after.map(
        (x, i) => (x - before[i]!) * (lengthNormalised ? 10 / rows[i]!.reply.length : 1),
      );
      const of = (side: boolean) => sum(gains.filter((_, i) => thumbs[i]!.good === side)) / 6;
      expect(Math.abs(second.margin!)).toBeGreaterThan(1e-3);
      expect(second.margin).toBeCloseTo(config.beta * (of(true) - of(false)), 5);
    }
    await policy.dispose();
  });

  it('learns what is good and what is bad, also of replies it has not seen', async () => {
    const policy = new Policy(checkpoint, runtime);
    const isGood = (i: number) => i % 2 === 0;
    const thumbs = tasteful(24, new Random(8), isGood);
    const config = { ...ktoDefaults, lrPeak: 0.03, klStop: Infinity };
    const { records, result } = await collect(trainKto(policy, thumbs, [], config));
    expect(records.at(-1)!.margin).toBeGreaterThan(0.2);
    expect(records.at(-1)!.loss).toBeLessThan(records[0]!.loss - 0.05);
    const unseen = await policy.withTrunk(tasteful(12, new Random(9), isGood));
    const before = await policy.scoresAs(unseen, null, logprobOf);
    const after = await policy.scoresAs(unseen, result.adapter, logprobOf);
    const gains = after.map((x, i) => x - before[i]!);
    const [good, bad] = [true, false].map((side) =>
      sum(gains.filter((_, i) => isGood(i) === side)),
    );
    expect((good! - bad!) / 6).toBeGreaterThan(0.5);
    await policy.dispose();
  });

  it('goes on from a saved step to the same adapter, bit for bit', async () => {
    const random = new Random(8);
    const thumbs = rowsOf(12, random).map((row, i) => ({ ...row, good: i % 2 === 0 }));
    const kto = async (keeping: Keeping) => {
      const policy = new Policy(checkpoint, runtime);
      const text = await policy.withTrunk(rowsOf(4, new Random(2)));
      const config = { ...ktoDefaults, seed: 4 };
      const out = await collect(trainKto(policy, thumbs, text, config, undefined, keeping));
      await policy.dispose();
      return [...parametersOf(out.result.adapter)];
    };
    const saved: CourseState[] = [];
    const save = (state: CourseState) => Promise.resolve(void saved.push(state));
    const whole = await kto({ save, everySteps: 3 });
    expect(await kto({ resume: structuredClone(saved[0]!) })).toEqual(whole);
  });

  it('runs no more padded tokens at once than the budget, ordinary text included', async () => {
    const widths: number[] = [];
    const watched: Runtime = {
      async load(graph, weights) {
        const session = await runtime.load(graph, weights);
        const run: typeof session.run = (feeds, options) => {
          const [rows, width] = feeds['positions']!.shape as [number, number];
          widths.push(rows * width);
          return session.run(feeds, options);
        };
        return { run, dispose: () => session.dispose() };
      },
    };
    const random = new Random(8);
    const thumbs = rowsOf(12, random).map((row, i) => ({ ...row, good: i % 2 === 0 }));
    const policy = new Policy(checkpoint, watched, { budgetTokens: 30 });
    const text = await policy.withTrunk(rowsOf(4, random));
    await collect(trainKto(policy, thumbs, text, { ...ktoDefaults, minSteps: 1 }));
    await policy.dispose();
    expect(Math.max(...widths)).toBeLessThanOrEqual(30);
  });
});

describe('the pipeline', () => {
  const random = new Random(3);
  const spec: PipelineSpec = {
    rankings: rankings(16, random),
    text: rowsOf(8, random),
    heldOutText: rowsOf(4, random),
    method: 'ppo',
    nllLimit: Infinity,
    seed: 1,
    dpo: { minSteps: 4, maxSteps: 4 },
    ppo: { iterations: 2, maxTokens: 12, promptsPerIteration: 4 },
  };
  const platform = () => ({ checkpoint, runtime, endOfTurn: END, now: () => performance.now() });
  const isPpo = (r: PipelineRecord): r is PpoRecord => r.stage === 'ppo';

  it.each<[string, Partial<PipelineSpec>]>([
    ['ppo', {}],
    ['rloo', { method: 'rloo' }],
    ['grpo', { ppo: { ...spec.ppo, estimator: 'grpo' } }],
  ])('%s starts every first minibatch at ρ = 1', async (_, change) => {
    const { records, result } = await collect<PipelineRecord, PipelineResult>(
      runPipeline({ ...spec, ...change }, platform()),
    );
    const steps = records.filter(isPpo);
    expect(steps).toHaveLength(2);
    for (const step of steps) expect(step.firstRatioError).toBeLessThan(1e-5);
    expect(Number.isFinite(result.measures.nllChange)).toBe(true);
    expect([...parametersOf(result.adapter)]).not.toEqual([...parametersOf(result.warmStart)]);
  });

  it.each(['gae', 'rloo', 'grpo'] as const)(
    '%s speaks more and more as the reward model likes it',
    async (estimator) => {
      const free = { klStop: Infinity, lengthStop: 0, updateKlStop: Infinity, klCoef: 0 };
      const rounds = { iterations: 10, promptsPerIteration: 8, maxTokens: 12, lrPeak: 0.03 };
      const ppo = { ...rounds, ...free, estimator };
      const untaught = { minSteps: 1, maxSteps: 1, lrPeak: 0 };
      const { records } = await collect<PipelineRecord, PipelineResult>(
        runPipeline({ ...spec, text: [], dpo: untaught, ppo }, platform()),
      );
      const scores = records.filter(isPpo).map(({ score }) => score);
      expect(scores).toHaveLength(10);
      // Scores have deviation 1 or so, a mean of three rounds of 32 replies has 0.1.
      expect(sum(scores.slice(-3)) - sum(scores.slice(0, 3))).toBeGreaterThan(3 * 0.4);
    },
  );

  it('keeps the checkpoint of SFT whose replies the reward model likes best', async () => {
    const sft = { epochs: 6, batch: 8, rateEvery: 1, lrPeak: 0.02 };
    const after: Adapter[] = [];
    const save = async ({ warmStart, course }: PipelineCheckpoint) => {
      if (!warmStart && course) after[course.step] = course.adapter;
      return Promise.resolve();
    };
    const { records, result } = await collect<PipelineRecord, PipelineResult>(
      runPipeline({ ...spec, method: 'sft', sft }, { ...platform(), save }),
    );
    const rated = records.flatMap((record) =>
      record.stage === 'sft' && record.rating !== undefined ? [record] : [],
    );
    expect(rated.map(({ step, of }) => (6 * step) / of)).toEqual([1, 2, 3, 4, 5, 6]);

    // The rating again, by hand: two replies to each prompt kept apart, paid by the reward model.
    const policy = new Policy(checkpoint, runtime);
    const { fromLayer } = policy.place;
    const speaker = await Speaker.create(checkpoint, runtime, { endOfTurn: END, fromLayer });
    const prompts = spec.heldOutText.map(({ prompt }) => prompt);
    const worth = async (adapter: Adapter) => {
      const options = { temperature: 1, maxTokens: 128, replies: 2, seed: spec.seed, adapter };
      const replies = (await collect(speaker.sample(prompts, options))).result.flat();
      const rows = replies.map(({ prompt, tokens }) => ({ prompt, reply: tokens }));
      const read = await policy.statesAs(await policy.withTrunk(rows), featuresOf);
      const paid = read.map((features, i) => {
        const score = Math.max(-5, Math.min(5, rewardOf(result.reward!, features)));
        return replies[i]!.ended ? score : score - 1;
      });
      return sum(paid) / paid.length;
    };
    for (const { step, rating } of rated) {
      expect(rating).toBeCloseTo(await worth(after[step]!), 5);
    }
    const best = rated.reduce((a, b) => (b.rating! > a.rating! ? b : a));
    expect([...parametersOf(result.adapter)]).toEqual([...parametersOf(after[best.step]!)]);
    await speaker.dispose();
    await policy.dispose();
  });

  it('lets ends speak for the better of ranked replies, where those end more often, and against none', async () => {
    const draw = new Random(4);
    const [first, second, cut] = [
      [...words(draw, 1), END],
      [...words(draw, 1), END],
      words(draw, 3),
    ];
    const ranked = Array.from({ length: 4 }, () => ({
      prompt: words(draw, 4),
      replies: [first!, second!, cut!],
      ranks: [1, 2, 3],
    }));
    const run = vi.spyOn(PolicyTrainer.prototype, 'run');
    const dpo = { minSteps: 1, maxSteps: 1, promptsPerStep: 1, focus: 0 };
    await collect(runPipeline({ ...spec, rankings: ranked, method: 'dpo', dpo }, platform()));
    const rows = run.mock.calls[0]![2]['rows']!;
    run.mockRestore();
    // All better replies ended, and a third of the worse ones. Readings as the better reply, then as the worse one.
    const kept = expect.closeTo(2 / 3, 6) as number;
    expect(rows.shape).toEqual([6, 7]);
    const readings = Array.from({ length: 6 }, (_, r) => [...rows.data.slice(7 * r, 7 * r + 7)]);
    expect(readings).toEqual([
      [1, kept, 0, 0, 0, 0, 0],
      [0, 0, 1, kept, 0, 0, 0],
      [0, 0, 0, 0, 1, 1, 1],
      [1, 0, 0, 0, 0, 0, 0],
      [0, 0, 1, 0, 0, 0, 0],
      [0, 0, 0, 0, 1, 1, 1],
    ]);
  });

  it('turns an adapter down until ordinary text costs no more than it may', async () => {
    const dpo = { lrPeak: 0.05, promptsPerStep: 4, minSteps: 20, focus: 0 };
    const run = async (nllLimit: number) =>
      (
        await collect<PipelineRecord, PipelineResult>(
          runPipeline({ ...spec, method: 'dpo', dpo, nllLimit }, platform()),
        )
      ).result;
    const whole = await run(Infinity);
    expect([whole.measures.scale, whole.measures.nllChange > 0.002]).toEqual([1, true]);
    const limit = whole.measures.nllChange / 2;
    const held = await run(limit);
    expect(held.measures.nllChange).toBeLessThanOrEqual(limit);
    expect(held.measures.nllChange).toBeGreaterThan(limit / 2);
    const { scale } = held.measures;
    for (const [path, { a, b }] of held.adapter.targets) {
      const before = whole.adapter.targets.get(path)!;
      expect(a).toEqual(before.a);
      b.forEach((x, i) => expect(x).toBeCloseTo(scale * before.b[i]!, 6));
    }
  });

  it('turns an adapter down while it is not sound, and asks no more often than it may', async () => {
    const run = async (soundAfter: number) => {
      const asked: Adapter[] = [];
      const isSound = (adapter: Adapter) => Promise.resolve(asked.push(adapter) > soundAfter);
      const { result } = await collect<PipelineRecord, PipelineResult>(
        runPipeline({ ...spec, method: 'dpo' }, { ...platform(), isSound }),
      );
      return { asked, result };
    };
    const { asked, result } = await run(2);
    expect(asked).toHaveLength(3);
    expect(result.measures.scale).toBe(0.7);
    expect(result.adapter).toBe(asked[2]);
    const never = await run(99);
    expect([never.asked.length, never.result.measures.scale]).toEqual([4, 1]);
  });

  it('learns from single thumbs: the reward model beside rankings, without them the warm start too', async () => {
    const thumbs = (count: number, random: Random) =>
      rankings(count, random).map(({ prompt, replies: [reply] }) => ({
        prompt,
        reply: reply!,
        good: reply!.some((id) => id % 8 === 7),
      }));
    const stagesOf = (records: readonly PipelineRecord[]) => [
      ...new Set(records.map(({ stage }) => stage)),
    ];
    const run = (more: Partial<PipelineSpec>) =>
      collect<PipelineRecord, PipelineResult>(runPipeline({ ...spec, ...more }, platform()));
    const [ranked, beside, alone] = [
      await run({}),
      await run({ thumbs: thumbs(24, new Random(8)) }),
      await run({ rankings: [], thumbs: thumbs(24, new Random(8)) }),
    ];
    expect(beside.result.measures.pairs).toBeGreaterThan(ranked.result.measures.pairs);
    expect(stagesOf(beside.records)).toEqual(['prepare', 'reward', 'dpo', 'ppo', 'measure']);
    expect(stagesOf(alone.records)).toEqual(['prepare', 'reward', 'kto', 'ppo', 'measure']);
    expect(alone.result.measures.pairs).toBeGreaterThan(0);
  });

  it('hears in single thumbs what a reply says, not how it ends', async () => {
    const thumbs = rankings(48, new Random(8)).map(({ prompt, replies: [whole] }) => {
      const reply = whole!.slice(0, -1);
      return { prompt, reply, good: reply.at(-1)! % 2 === 0 };
    });
    const spoken: PipelineSpec = { ...spec, method: 'kto', rankings: [], thumbs };
    const { result } = await collect<PipelineRecord, PipelineResult>(
      runPipeline(spoken, platform()),
    );
    expect(result.reward!.readout).toBe('mean');
  });

  /** Runs it, then goes on from every state that was saved; gives all results, the uninterrupted one first. */
  async function killedAnywhere(of: PipelineSpec): Promise<PipelineResult[]> {
    const saved: Buffer[] = [];
    const save = (state: PipelineCheckpoint) => Promise.resolve(void saved.push(serialize(state)));
    const whole = await collect(runPipeline(of, { ...platform(), save }));
    expect(saved.length).toBeGreaterThan(4);
    const results = [whole.result];
    for (const state of saved) {
      const resume = deserialize(state) as PipelineCheckpoint;
      // A second kill must not lose what the first one left.
      const again = (next: PipelineCheckpoint) =>
        Promise.resolve(expect(heldBy(next)).toBeGreaterThan(heldBy(resume)));
      const { result } = await collect(runPipeline(of, { ...platform(), resume, save: again }));
      results.push(result);
    }
    return results;
  }

  /** How far a saved state is: the stages it holds whole, then the steps of the next. */
  const heldBy = ({ reward, warmStart, adapter, course }: PipelineCheckpoint): number =>
    1000 * [reward, warmStart, adapter].filter(Boolean).length + (course?.step ?? 0);

  it.each(['ppo', 'kto', 'sft'] as const)(
    '%s killed after any step goes on to the same weights, bit for bit',
    async (method) => {
      const short = { ...spec, method, kto: { minSteps: 1 }, sft: { epochs: 2, batch: 8 } };
      const [whole, ...others] = await killedAnywhere(short);
      for (const { adapter } of others) {
        expect([...parametersOf(adapter)]).toEqual([...parametersOf(whole!.adapter)]);
      }
    },
  );

  it('learns from demonstrations alone, without a reward model and a rating', async () => {
    const shown: PipelineSpec = {
      ...spec,
      rankings: [],
      method: 'sft',
      demonstrations: rowsOf(8, new Random(8)),
      sft: { epochs: 3, batch: 4 },
    };
    const { records, result } = await collect<PipelineRecord, PipelineResult>(
      runPipeline(shown, platform()),
    );
    expect([...new Set(records.map(({ stage }) => stage))]).toEqual(['prepare', 'sft', 'measure']);
    expect(records.some((record) => 'rating' in record)).toBe(false);
    expect(result).not.toHaveProperty('reward');
    expect(result.measures).not.toHaveProperty('rewardModelAccuracy');
    for (const { adapter } of await killedAnywhere(shown)) {
      expect([...parametersOf(adapter)]).toEqual([...parametersOf(result.adapter)]);
    }
    await expect(
      collect(runPipeline({ ...shown, demonstrations: [] }, platform())),
    ).rejects.toThrow(expect.objectContaining({ code: 'train/no-pairs' }));
  });

  it.each([
    ['train/kl', { klStop: -1 }],
    ['train/length', { lengthStop: 2 }],
    ['train/not-finite', { ptxBalance: Number.NaN }],
  ] as const)('stops for %s and keeps the last good adapter', async (code, limits) => {
    const { records, result } = await collect<PipelineRecord, PipelineResult>(
      runPipeline({ ...spec, ppo: { ...spec.ppo, ...limits } }, platform()),
    );
    const steps = records.filter(isPpo);
    expect(steps.map(({ stopped }) => stopped?.code)).toEqual([code]);
    expect(result.stopped).toEqual(steps[0]!.stopped);
    expect([...parametersOf(result.adapter)]).toEqual([...parametersOf(result.warmStart)]);
  });

  it('does not keep a policy whose own replies ran away', async () => {
    const wild = { ...spec.ppo, lrPeak: 0.05 };
    const free = await collect<PipelineRecord, PipelineResult>(
      runPipeline({ ...spec, ppo: { ...wild, klStop: 1e9 } }, platform()),
    );
    const [first, second] = free.records.filter(isPpo);
    expect(second!.klToken).toBeGreaterThan(first!.klToken + 0.01);
    const klStop = (first!.klToken + second!.klToken) / 2;
    const { records, result } = await collect<PipelineRecord, PipelineResult>(
      runPipeline({ ...spec, ppo: { ...wild, klStop } }, platform()),
    );
    expect(records.filter(isPpo).map(({ stopped }) => stopped?.code)).toEqual([
      undefined,
      'train/kl',
    ]);
    expect([...parametersOf(result.adapter)]).toEqual([...parametersOf(result.warmStart)]);
    for (const { adapter } of await killedAnywhere({ ...spec, ppo: { ...wild, klStop } })) {
      expect([...parametersOf(adapter)]).toEqual([...parametersOf(result.adapter)]);
    }
  });

  /** Runs it, and again from the last state that `is` chooses among those saved. */
  async function runAndResume(of: PipelineSpec, is: (state: PipelineCheckpoint) => boolean) {
    const saved: PipelineCheckpoint[] = [];
    const save = (state: PipelineCheckpoint) => Promise.resolve(void saved.push(state));
    const whole = await collect<PipelineRecord, PipelineResult>(
      runPipeline(of, { ...platform(), save }),
    );
    const resume = structuredClone(saved.findLast(is)!);
    const again = await collect<PipelineRecord, PipelineResult>(
      runPipeline(of, { ...platform(), resume }),
    );
    return { whole, again };
  }

  it('measures what its last update made as well', async () => {
    const wild = { ...spec, ppo: { ...spec.ppo, iterations: 1, lrPeak: 1 } };
    const updated = ({ warmStart, course }: PipelineCheckpoint) =>
      !!warmStart && course?.step === 1;
    const { whole, again } = await runAndResume(wild, updated);
    const steps = whole.records.filter(isPpo);
    expect(steps.map(({ step, stopped }) => [step, stopped?.code])).toEqual([
      [1, undefined],
      [1, 'train/kl'],
    ]);
    for (const { result } of [whole, again]) {
      expect(result.stopped?.code).toBe('train/kl');
      expect([...parametersOf(result.adapter)]).toEqual([...parametersOf(whole.result.warmStart)]);
    }
  });

  it('begins no reinforcement from a warm start that had to stop', async () => {
    const wild = { ...spec, dpo: { ...spec.dpo, klStop: -1 } };
    const { whole, again } = await runAndResume(wild, ({ warmStart }) => !!warmStart);
    for (const { records, result } of [whole, again]) {
      expect(result.stopped?.code).toBe('train/kl');
      expect(records.filter(isPpo)).toEqual([]);
      expect([...parametersOf(result.adapter)]).toEqual([...parametersOf(whole.result.warmStart)]);
    }
  });

  it('makes no update once the policy has moved further than it may', async () => {
    const ppo = { ...spec.ppo, iterations: 1, epochs: 2, minibatches: 4, updateKlStop: -1 };
    const { records, result } = await collect<PipelineRecord, PipelineResult>(
      runPipeline({ ...spec, ppo }, platform()),
    );
    const [step] = records.filter(isPpo);
    expect(step).toMatchObject({ gradientNorm: 0, clipFraction: 0 });
    expect(step!.updateKl).toBeLessThan(1e-9);
    expect([...parametersOf(result.adapter)]).toEqual([...parametersOf(result.warmStart)]);
  });

  it('steers the leash and averages the policy as its papers say', async () => {
    const run = async (ppo: object) =>
      collect<PipelineRecord, PipelineResult>(
        runPipeline(
          { ...spec, ppo: { ...spec.ppo, iterations: 1, minibatches: 1, ...ppo } },
          platform(),
        ),
      );
    const plain = await run({});
    const averaged = await run({ ema: 0.9 });
    const [start, end] = [plain.result.warmStart, plain.result.adapter].map(parametersOf);
    for (const [name, data] of parametersOf(averaged.result.adapter)) {
      const expected = data.map((_, i) => 0.9 * start!.get(name)![i]! + 0.1 * end!.get(name)![i]!);
      data.forEach((x, i) => expect(Math.abs(x - expected[i]!)).toBeLessThan(1e-7));
    }
    const steered = await run({ iterations: 2, klTarget: 1e-6, klHorizon: 160, klCoef: 0.1 });
    const [one, two] = steered.records.filter(isPpo);
    // KL off its target by more than a fifth: β moves by 0.2 · 16 replies / 160.
    expect(Math.abs(one!.klReply)).toBeGreaterThan(2e-6);
    const factor = one!.klReply > 0 ? 1.02 : 0.98;
    expect([one!.klCoef, two!.klCoef / one!.klCoef]).toEqual([0.1, expect.closeTo(factor, 9)]);
  });

  it('stops when it is told to', async () => {
    const stop = new AbortController();
    const run = runPipeline(spec, platform(), stop.signal);
    await run.next();
    stop.abort();
    await expect(collect(run)).rejects.toThrow('aborted');
  });
});
