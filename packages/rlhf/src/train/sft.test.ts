// SFT on the seeded two-layer model: what is counted, what is dropped, how rows are laid out, what is kept.
import { beforeAll, describe, expect, it } from 'vitest';
import { float32, Random } from '@rapport/core';
import type { Adapter, Checkpoint, Runtime } from '@rapport/core';
import { randomAdapter } from '../../../../tests/support/adapters.ts';
import { nodeRuntime } from '../../../../tests/support/node-runtime.ts';
import { tinyCheckpoint } from '../../../../tests/support/tiny.ts';
import { crossEntropy } from '../losses/policy.ts';
import type { Parameters } from '../optim/adamw.ts';
import { newAdapter, parametersOf } from './adapter.ts';
import { Policy } from './policy.ts';
import type { RunOptions } from './policy.ts';
import { packByRoom } from './rows.ts';
import type { TrunkRow } from './rows.ts';
import { sftDefaults, trainSft } from './sft.ts';
import type { SftConfig, SftExtras, SftRecord } from './sft.ts';

let policy: Policy;
let checkpoint: Checkpoint;
let runtime: Runtime;
let rows: TrunkRow[];

beforeAll(async () => {
  checkpoint = await tinyCheckpoint('llama-tied');
  runtime = await nodeRuntime(checkpoint);
  policy = new Policy(checkpoint, runtime);
  const random = new Random(3);
  const ids = (count: number) => Array.from({ length: count }, () => 3 + random.integer(60));
  rows = await policy.withTrunk(
    [4, 9, 2, 7, 12, 5].map((length) => ({ prompt: ids(3 + (length % 4)), reply: ids(length) })),
  );
});

async function train(config: Partial<SftConfig>, extras: SftExtras = {}) {
  const records: SftRecord[] = [];
  const run = trainSft(policy, rows, { ...sftDefaults, ...config }, extras);
  for (;;) {
    const next = await run.next();
    if (next.done) return { records, ...next.value };
    records.push(next.value);
  }
}

/** Loss and gradients of the mean NLL over all replies, from one run for each part. */
async function lossOf(
  parts: readonly (readonly TrunkRow[])[],
  options: RunOptions = {},
  learner = policy,
) {
  const adapter = randomAdapter(learner.sites, { rank: 4, alpha: 8, seed: 2 });
  const trainer = await learner.trainer(4, (p) => ({
    loss: crossEntropy(p.logprobs, p.input('weight', 'float32', ['N'])),
  }));
  const tokens = parts.flat().reduce((n, { reply }) => n + reply.length, 0);
  const gradients: Parameters = new Map();
  let loss = 0;
  for (const part of parts) {
    const count = part.reduce((n, { reply }) => n + reply.length, 0);
    const weight = float32([count], new Float32Array(count).fill(1 / tokens));
    const out = await trainer.run(part, adapter, { weight }, gradients, options);
    loss += Number(out['loss']!.data[0]);
  }
  await trainer.dispose();
  return { loss, gradients };
}

function expectClose(found: Parameters, expected: Parameters): void {
  expect([...found.keys()]).toEqual([...expected.keys()]);
  for (const [name, g] of expected) {
    const largest = Math.max(...g.map(Math.abs));
    expect(largest).toBeGreaterThan(0);
    found.get(name)!.forEach((x, i) => expect(Math.abs(x - g[i]!)).toBeLessThan(1e-5 * largest));
  }
}

describe('the loss', () => {
  it('is the mean over reply tokens of the whole batch, of nothing else', async () => {
    const scores = await policy.score(rows, null);
    const logprobs = scores.flatMap((s) => [...s.logprobs]);
    const expected = -logprobs.reduce((a, b) => a + b, 0) / logprobs.length;
    const { records } = await train({ residualDropout: 0, epochs: 1 });
    expect(records[0]!.loss).toBeCloseTo(expected, 5);
  });

  it('has the gradients of the large batch when it is accumulated over small ones', async () => {
    const whole = await lossOf([rows]);
    const parts = await lossOf([rows.slice(0, 1), rows.slice(1, 4), rows.slice(4)]);
    expect(parts.loss).toBeCloseTo(whole.loss, 5);
    expectClose(parts.gradients, whole.gradients);
  });

  it('has the same gradients of rows packed into one sequence as of rows side by side', async () => {
    const whole = await lossOf([rows]);
    const packed = await lossOf([rows], { packed: true });
    expect(packed.loss).toBeCloseTo(whole.loss, 5);
    expectClose(packed.gradients, whole.gradients);
  });
});

describe('memory', () => {
  it.each([0, 200_000])(
    'of %d bytes has the same gradients, layers being made again',
    async (bytes) => {
      const place = { fromLayer: 0 };
      const ample = new Policy(checkpoint, runtime, { place });
      const poor = new Policy(checkpoint, runtime, { place, activationBytes: bytes });
      const whole = await ample.withTrunk(rows);
      const expected = await lossOf([whole], {}, ample);
      const found = await lossOf([whole], {}, poor);
      expect(found.loss).toBe(expected.loss);
      expectClose(found.gradients, expected.gradients);
      await ample.dispose();
    },
  );
});

describe('packing', () => {
  it('puts every row once, and no more into a sequence than there is room for', () => {
    const random = new Random(1);
    const lengths = Array.from({ length: 40 }, () => 1 + random.integer(30));
    const bins = packByRoom(lengths, (n) => n, 32);
    expect(bins.flat().sort()).toEqual([...lengths].sort());
    for (const bin of bins) expect(bin.reduce((a, b) => a + b, 0)).toBeLessThanOrEqual(32);
    const total = lengths.reduce((a, b) => a + b, 0);
    expect(bins.length).toBeLessThanOrEqual(Math.ceil(total / 32) + 2);
    expect(packByRoom([50, 3], (n) => n, 32)).toEqual([[50], [3]]);
  });
});

describe('dropout', () => {
  it('in front of an adapter that adds nothing yet changes nothing; on the residual stream it does', async () => {
    const { records: plain } = await train({ residualDropout: 0, epochs: 1 });
    const { records: lora } = await train({ residualDropout: 0, loraDropout: 0.5, epochs: 1 });
    const { records: residual } = await train({ residualDropout: 0.5, epochs: 1 });
    expect(lora[0]!.loss).toBe(plain[0]!.loss);
    expect(lora[0]!.gradientNorm).not.toBeCloseTo(plain[0]!.gradientNorm, 3);
    expect(Math.abs(residual[0]!.loss - plain[0]!.loss)).toBeGreaterThan(0.01);
  });

  it('is no reason to stop: KL is measured from the first step', async () => {
    const { records, stopped } = await train({ residualDropout: 0.9, klStop: 0.5, epochs: 4 });
    expect([records.length, records[0]!.kl, stopped]).toEqual([4, 0, undefined]);
    const { records: plain } = await train({ residualDropout: 0, epochs: 1 });
    expect(Math.abs(records[0]!.loss - plain[0]!.loss)).toBeGreaterThan(0.01);
  });

  it('is drawn anew for every run, and the same from one seed', async () => {
    const run = async () => (await train({ epochs: 3, seed: 5 })).records.map(({ loss }) => loss);
    const losses = await run();
    expect(new Set(losses).size).toBe(3);
    expect(await run()).toEqual(losses);
  });
});

describe('a run', () => {
  it('takes 16 epochs of a small set and learns it', async () => {
    const { records } = await train({ batch: 3, lrPeak: 0.02 });
    expect(records).toHaveLength(32);
    expect(records.at(-1)!.loss).toBeLessThan(records[0]!.loss - 0.3);
    expect(records[0]!.lr).toBeCloseTo(0.02 / 3, 12);
    expect(records.at(-1)!.lr).toBeLessThan(0.0025);
  });

  it('returns the adapter that was rated best, not the last', async () => {
    const ratings = [0.2, 0.9, 0.4];
    const seen: Map<string, Float32Array>[] = [];
    const rate = (adapter: Adapter) => {
      seen.push(structuredClone(parametersOf(adapter)));
      return Promise.resolve(ratings[seen.length - 1]!);
    };
    const { records, adapter } = await train({ epochs: 6, rateEvery: 2 }, { rate });
    expect(records.map(({ rating }) => rating)).toEqual([
      undefined,
      0.2,
      undefined,
      0.9,
      undefined,
      0.4,
    ]);
    expect(parametersOf(adapter)).toEqual(seen[1]);
    expect(seen[2]).not.toEqual(seen[1]);
  });
});

describe('rsLoRA', () => {
  it('scales by α/√r', () => {
    const scale = ({ alpha, rank }: Adapter) => alpha / rank;
    const config = { rank: 16, alpha: 8 };
    expect(scale(newAdapter(policy.sites, config, new Random(1)))).toBe(0.5);
    expect(scale(newAdapter(policy.sites, { ...config, rsLora: true }, new Random(1)))).toBe(2);
  });
});
