// The first step of DPO and of PPO on the real model, where the answer is known: nothing has been learned yet,
// so policy and reference are one, and what an update computes must say so.
import { beforeAll, afterAll, expect, it } from 'vitest';
import {
  float32,
  buildTokenizer,
  type Checkpoint,
  type Runtime,
  type Tokenizer,
} from '@rapport/core';
import { dpoDefaults, Policy, policyLoss, runPipeline, trainDpo } from '@rapport/rlhf';
import type { Parameters, PipelineRecord, Row } from '@rapport/rlhf';
import { realCheckpoint } from '../support/checkpoint.ts';
import { nodeRuntime } from '../support/node-runtime.ts';

let checkpoint: Checkpoint;
let runtime: Runtime;
let tokenizer: Tokenizer;
let policy: Policy;

beforeAll(async () => {
  checkpoint = await realCheckpoint();
  runtime = await nodeRuntime(checkpoint);
  tokenizer = await buildTokenizer(checkpoint.tokenizer);
  // Adapters on the upper three layers only: the same graphs with less to compute.
  policy = new Policy(checkpoint, runtime, { place: { fromLayer: checkpoint.config.layers - 3 } });
  replies = [
    row('Name three fruits.', 'Apples, pears and plums.'),
    row('Name three fruits.', '1. Apple\n2. Pear\n3. Plum'),
    row(
      'Name three fruits.',
      'I would rather talk about the weather, which has been fine all week.',
    ),
  ];
}, 300_000);

afterAll(() => policy.dispose());

const row = (question: string, answer: string): Row => ({
  prompt: tokenizer.encodeChat([{ role: 'user', content: question }], {
    addGenerationPrompt: true,
  }),
  reply: [...tokenizer.encode(answer), tokenizer.endOfTurn],
});
let replies: Row[];

it('the first loss of DPO is ln 2', async () => {
  const rows = await policy.withTrunk(replies);
  const refLogprobs = (await policy.score(rows, null)).map(({ logprobs }) => logprobs);
  const run = trainDpo(policy, [{ rows, refLogprobs, ranks: [2, 1, 3] }], [], {
    ...dpoDefaults,
    minSteps: 1,
    maxSteps: 1,
  });
  const { value } = await run.next();
  await run.return(undefined as never);
  expect(Math.abs((value as { loss: number }).loss - Math.LN2)).toBeLessThan(1e-5);
}, 300_000);

it('no advantage gives no gradient, an advantage gives one', async () => {
  const rows = await policy.withTrunk(replies);
  const old = (await policy.score(rows, null)).flatMap(({ logprobs }) => [...logprobs]);
  const trainer = await policy.trainer(4, (p) => {
    const n = (name: string) => p.input(name, 'float32', ['N']);
    const given = { oldLogprobs: n('old'), advantages: n('advantages'), weight: n('weight') };
    return { loss: policyLoss(p.logprobs, given, 0.2) };
  });
  const targets = new Map(
    policy.sites.map(({ path, inputs, outputs }) => [
      path,
      { a: new Float32Array(inputs * 4).fill(0.01), b: new Float32Array(4 * outputs) },
    ]),
  );
  const largest = async (advantage: number) => {
    const gradients: Parameters = new Map();
    const all = (x: number) => float32([old.length], new Float32Array(old.length).fill(x));
    const feeds = { old: float32([old.length], old), advantages: all(advantage) };
    await trainer.run(
      rows,
      { rank: 4, alpha: 8, targets },
      { ...feeds, weight: all(1 / old.length) },
      gradients,
    );
    return Math.max(
      ...[...gradients.values()].map((g) => g.reduce((a, x) => Math.max(a, Math.abs(x)), 0)),
    );
  };
  expect(await largest(0)).toBe(0);
  expect(await largest(1)).toBeGreaterThan(1e-4);
  await trainer.dispose();
}, 300_000);

it('ρ = 1 on the first minibatch of PPO after a warm start', async () => {
  const run = runPipeline(
    {
      rankings: [
        { prompt: replies[0]!.prompt, replies: replies.map((r) => r.reply), ranks: [2, 1, 3] },
      ],
      text: [row('What is a lighthouse?', 'A tower with a light that warns ships.')],
      heldOutText: [],
      method: 'ppo',
      seed: 0,
      dpo: { minSteps: 2, maxSteps: 2, ptxBalance: 0 },
      ppo: {
        iterations: 1,
        promptsPerIteration: 1,
        repliesPerPrompt: 3,
        maxTokens: 24,
        ptxRows: 1,
      },
    },
    { checkpoint, runtime, endOfTurn: tokenizer.endOfTurn, now: () => performance.now() },
  );
  const records: PipelineRecord[] = [];
  for await (const record of run) records.push(record);
  const [step] = records.flatMap((r) => (r.stage === 'ppo' ? [r] : []));
  expect(step!.firstRatioError).toBeLessThan(1e-5);
  expect(step!.gradientNorm).toBeGreaterThan(0);
}, 300_000);
