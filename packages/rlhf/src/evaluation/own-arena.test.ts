// The arena of a training run on the seeded two-layer model, against the same numbers taken the slow way.
import { beforeAll, expect, it } from 'vitest';
import { linearSites, Random } from '@rapport/core';
import type { Adapter, Checkpoint, Runtime } from '@rapport/core';
import { nodeRuntime } from '../../../../tests/support/node-runtime.ts';
import { tinyCheckpoint } from '../../../../tests/support/tiny.ts';
import { Speaker } from '../rollout/speaker.ts';
import { newAdapter, parametersOf } from '../train/adapter.ts';
import { Policy } from '../train/policy.ts';
import { featuresOf, trainReward } from '../train/reward.ts';
import { ownArena } from './own-arena.ts';
import type { ArenaResult, ArenaSpec, GoldenTokens } from './own-arena.ts';

type Measured = ArenaResult & { golden: GoldenTokens; steps: number[] };
/** With a win rate, since somebody judged. */
type Result = Required<Measured>;

const END = 2;
const random = new Random(5);
const words = (count: number) => Array.from({ length: count }, () => 3 + random.integer(60));
const prompts = Array.from({ length: 45 }, () => words(4));
const speaking = { maxTokens: 12, temperature: 1, seed: 9 };

let checkpoint: Checkpoint;
let runtime: Runtime;

beforeAll(async () => {
  checkpoint = await tinyCheckpoint('llama-tied');
  runtime = await nodeRuntime(checkpoint);
});

/** An adapter that changes something: as made, with B drawn like A. */
function moved(size: number): Adapter {
  const { layers } = checkpoint.config;
  const sites = linearSites(checkpoint.config, Math.floor(layers / 2), layers);
  const adapter = newAdapter(sites, { rank: 4, alpha: 8 }, random);
  for (const [name, data] of parametersOf(adapter)) {
    if (name.endsWith('.b')) data.forEach((_, i) => (data[i] = size * (2 * random.uniform() - 1)));
  }
  return adapter;
}

/** Runs `act` with what the arena needs, and a reward model of a person who likes long replies. */
async function inArena<T>(
  act: (tools: {
    arena: (adapter: Adapter, current: Adapter | null, asked?: number) => Promise<Result>;
    unjudged: (adapter: Adapter) => Promise<Measured>;
    speaker: Speaker;
    policy: Policy;
  }) => Promise<T>,
): Promise<T> {
  const policy = new Policy(checkpoint, runtime);
  const { fromLayer } = policy.place;
  const speaker = await Speaker.create(checkpoint, runtime, { endOfTurn: END, fromLayer });
  const ranked = await Promise.all(
    Array.from({ length: 12 }, async () => {
      const rows = [2, 4, 6, 8].map((n) => ({ prompt: words(4), reply: [...words(n), END] }));
      const scores = await policy.score(await policy.withTrunk(rows), null);
      return { replies: scores.map(featuresOf), ranks: [4, 3, 2, 1] };
    }),
  );
  const reward = trainReward(ranked, []);
  const follow = async (spec: Pick<ArenaSpec, 'adapter' | 'current' | 'asked' | 'reward'>) => {
    const run = ownArena({ prompts, ...speaking, ...spec }, { policy, speaker });
    const steps: number[] = [];
    for (;;) {
      const next = await run.next();
      if (next.done) return { ...next.value, steps };
      const { step, of } = next.value;
      const round = 2 * prompts.length;
      if (step < round) expect(of).toBe(round);
      if (step > round) expect(of).toBe(2 * round);
      steps.push(step);
    }
  };
  const arena = (adapter: Adapter, current: Adapter | null, asked = 0.5) =>
    follow({ adapter, current, asked, reward }) as Promise<Result>;
  const unjudged = (adapter: Adapter) => follow({ adapter, current: null, asked: 0.5 });
  try {
    return await act({ arena, unjudged, speaker, policy });
  } finally {
    await speaker.dispose();
    await policy.dispose();
  }
}

it('finds an adapter as good as itself, whatever it does', async () => {
  const adapter = moved(0.5);
  const { winRate, low, high, replyLength, baseReplyLength, kl } = await inArena(({ arena }) =>
    arena(adapter, adapter),
  );
  // The same seeds give both the same replies.
  expect(winRate).toBe(0.5);
  expect(low).toBeLessThanOrEqual(0.5);
  expect(high).toBeGreaterThanOrEqual(0.5);
  expect(replyLength).toBe(baseReplyLength);
  expect(kl).not.toBe(0);
});

it('without a reward model measures all but who wins, in one round', async () => {
  const adapter = moved(0.5);
  await inArena(async ({ arena, unjudged }) => {
    const { winRate, low, high, lengthControlled, ...rest } = await arena(adapter, null, 0);
    const judged = [winRate, low, high, lengthControlled];
    expect(judged).toEqual(judged.map(() => expect.any(Number)));
    expect(await unjudged(adapter)).toEqual(rest);
  });
});

it('measures lengths, ends and KL of the replies that the adapter speaks', async () => {
  const adapter = moved(0.5);
  await inArena(async ({ arena, speaker, policy }) => {
    const found = await arena(adapter, null, 0);
    const spoken = async (by: Adapter | null) => {
      const run = speaker.sample(prompts, { ...speaking, replies: 1, adapter: by });
      for (;;) {
        const next = await run.next();
        if (next.done) return next.value.flat();
      }
    };
    const [ours, theirs] = [await spoken(adapter), await spoken(null)];
    const mean = (x: number[]) => x.reduce((a, b) => a + b, 0) / x.length;
    expect(found.replyLength).toBeCloseTo(mean(ours.map(({ tokens }) => tokens.length)), 9);
    expect(found.baseReplyLength).toBeCloseTo(mean(theirs.map(({ tokens }) => tokens.length)), 9);
    expect(found.endedFraction).toBeCloseTo(mean(ours.map(({ ended }) => Number(ended))), 9);

    // KL token by token, of every other of 45 replies.
    const differences: number[] = [];
    for (const { prompt, tokens } of ours.filter((_, i) => i % 2 === 0)) {
      const rows = await policy.withTrunk([{ prompt, reply: tokens }]);
      const [tuned] = await policy.score(rows, adapter);
      const [base] = await policy.score(rows, null);
      tuned!.logprobs.forEach((logprob, t) => differences.push(logprob - base!.logprobs[t]!));
    }
    expect(found.kl).toBeCloseTo(mean(differences), 5);
    expect(found.kl).toBeGreaterThan(0);

    // The golden test is the next token after the first prompt.
    const next = Array.from(await speaker.next(prompts[0]!, adapter));
    const best = next.indexOf(Math.max(...next));
    expect(found.golden.promptTokens).toEqual(prompts[0]);
    expect(found.golden.top5[0]!.id).toBe(best);
    expect(found.golden.top5[0]!.logprob).toBeCloseTo(Math.log(next[best]!), 5);
    expect(found.golden.top5).toHaveLength(5);
    // Progress only grows, and ends with both halves done.
    expect(found.steps).toEqual([...found.steps].sort((a, b) => a - b));
    expect(found.steps.at(-1)).toBe(2 * prompts.length);
  });
});

it('speaks a second round where the first leaves the question open, and no more', async () => {
  await inArena(async ({ arena }) => {
    const adapter = moved(0.5);
    const sure = await arena(adapter, null, 0);
    const asked = (sure.low + sure.high) / 2;
    const open = await arena(adapter, null, asked);
    expect(open.steps.at(-1)).toBe(4 * prompts.length);
    // Twice as many replies say it closer, and KL is measured on the first of them.
    expect(open.high - open.low).toBeLessThan(sure.high - sure.low);
    expect(open.kl).toBe(sure.kl);
    // Surely worse than asked is decided, too.
    expect((await arena(adapter, null, 0.999)).steps.at(-1)).toBe(2 * prompts.length);
  });
});
