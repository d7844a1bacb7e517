// One layout against the other: a shared prompt must change nothing but the time it takes.
import { beforeAll, describe, expect, it } from 'vitest';
import { op, Random } from '@rapport/core';
import type { Adapter, Checkpoint, Runtime } from '@rapport/core';
import { nodeRuntime } from '../../../../tests/support/node-runtime.ts';
import { tinyCheckpoint } from '../../../../tests/support/tiny.ts';
import { newAdapter } from './adapter.ts';
import { Policy } from './policy.ts';
import type { RowScore } from './policy.ts';
import { batchesOf, documentRow, Layout } from './rows.ts';
import type { Row, TrunkRow } from './rows.ts';

const words = (random: Random, count: number) =>
  Array.from({ length: count }, () => 3 + random.integer(60));

/** Replies of several lengths to one prompt. */
function siblings(random: Random, lengths: readonly number[]): Row[] {
  const prompt = words(random, 7);
  return lengths.map((length) => ({ prompt, reply: words(random, length) }));
}

describe('a layout', () => {
  it('shares a prompt where that is less work, and only there', () => {
    const random = new Random(1);
    const shared = new Layout(siblings(random, [4, 6, 5]));
    expect([shared.batch, shared.width]).toEqual([1, 7 + 15]);
    expect([0, 1, 2].map((i) => shared.index(i, 7))).toEqual([7, 11, 17]);
    // Four long replies see so much of each other's masked cells that padding is cheaper.
    const long = new Layout(siblings(random, [900, 900, 900, 900]));
    expect([long.batch, long.width]).toEqual([4, 907]);
    const strangers = new Layout([...siblings(random, [4]), ...siblings(random, [6])]);
    expect([strangers.batch, strangers.width]).toEqual([2, 13]);
  });

  it('lets a token see its prompt and its own reply, no further than itself', () => {
    const rows = siblings(new Random(2), [2, 3]);
    const layout = new Layout(rows);
    const mask = layout.feeds(2)['mask']!.data as Float32Array;
    const { width } = layout;
    const owner = Array.from({ length: width }, (_, at) => (at < 7 ? -1 : at < 9 ? 0 : 1));
    for (let g = 0; g < 2; g++) {
      for (let q = 0; q < width; q++) {
        for (let k = 0; k < width; k++) {
          const sees = k <= q && (owner[k] === -1 || owner[k] === owner[q]);
          expect(mask[(g * width + q) * width + k]).toBe(sees ? 0 : Math.fround(-1e9));
        }
      }
    }
  });

  it('lays prompts side by side, each with its replies behind it', () => {
    const random = new Random(6);
    const [pair, other] = [siblings(random, [2, 3]), siblings(random, [4])];
    const layout = new Layout([pair[0]!, ...other, pair[1]!]);
    const { batch, width } = layout;
    expect([batch, width]).toEqual([2, 7 + 5]);
    const at = [0, 1, 2].map((i) => [layout.index(i, 0), layout.index(i, 7)]);
    expect(at).toEqual([
      [0, 7],
      [width, width + 7],
      [0, 9],
    ]);
    const { data, shape } = layout.feeds(1)['mask']!;
    expect(shape).toEqual([2, 1, width, width]);
    // What the last token of the other prompt's reply sees: all before it, and nothing of what is padded.
    const last = layout.index(1, 10) * width;
    const seen = Array.from({ length: width }, (_, k) => data[last + k] === 0);
    expect(seen).toEqual([...Array(11).fill(true), false]);
  });

  it('gives back what it took in', () => {
    const random = new Random(3);
    const rows = [...siblings(random, [2, 5, 3]), ...siblings(random, [4])].map((row) => ({
      ...row,
      trunk: Float32Array.from([...row.prompt, ...row.reply].flatMap((id) => [id, -id])),
    }));
    const layout = new Layout(rows);
    const { data } = layout.gather(({ trunk }) => trunk, 2);
    expect(layout.scatter(data as Float32Array, 2)).toEqual(rows.map(({ trunk }) => trunk));
  });
});

describe('batches', () => {
  it('hold every item once, siblings together, nothing beyond the budget', () => {
    const random = new Random(4);
    const rows = [
      ...siblings(random, [4, 6, 5]),
      ...siblings(random, [30]),
      ...siblings(random, [9, 12]),
      ...siblings(random, [20, 25, 28]),
    ];
    const batches = batchesOf(random.shuffle(rows), (row) => row, 64);
    expect(new Set(batches.flat())).toEqual(new Set(rows));
    expect(batches.flat()).toHaveLength(rows.length);
    for (const batch of batches) {
      const { batch: count, width } = new Layout(batch);
      expect(count * width).toBeLessThanOrEqual(64);
    }
    expect(batches.some((batch) => batch.length === 3 && batch.includes(rows[0]!))).toBe(true);
  });
});

it('a document keeps its opening as what is given', () => {
  expect(documentRow([1, 2, 3, 4, 5, 6])).toEqual({ prompt: [1, 2, 3, 4], reply: [5, 6] });
  expect(documentRow([1, 2, 3, 4])).toBeNull();
});

describe.each(['llama-tied', 'qwen3-tied', 'gpt2'] as const)('%s', (name) => {
  let checkpoint: Checkpoint;
  let runtime: Runtime;
  let policy: Policy;
  let rows: TrunkRow[];
  let adapter: Adapter;

  beforeAll(async () => {
    checkpoint = await tinyCheckpoint(name);
    runtime = await nodeRuntime(checkpoint);
    policy = new Policy(checkpoint, runtime);
    const random = new Random(5);
    adapter = newAdapter(policy.sites, { rank: 2, alpha: 4 }, random);
    for (const { b } of adapter.targets.values())
      b.forEach((_, i) => (b[i] = random.uniform() - 0.5));
    const [several, one, two] = [[5, 9, 7, 6], [8], [4, 11]].map((l) => siblings(random, l));
    // Those of one prompt need not stand together.
    rows = await policy.withTrunk([two![0]!, ...several!, ...one!, two![1]!]);
    const { batch, width } = new Layout(rows);
    expect([batch, width]).toEqual([3, 7 + 5 + 9 + 7 + 6]);
  });

  it('scores replies that share their prompt as it scores them alone', async () => {
    const alone: RowScore[] = [];
    for (const { prompt, reply } of rows) {
      const [one] = await policy.withTrunk([{ prompt, reply }]);
      alone.push((await policy.score([one!], adapter))[0]!);
    }
    const together = await policy.score(rows, adapter);
    together.forEach(({ logprobs, hidden }, i) => {
      logprobs.forEach((x, t) => expect(x).toBeCloseTo(alone[i]!.logprobs[t]!, 5));
      hidden.forEach((x, t) => expect(x).toBeCloseTo(alone[i]!.hidden[t]!, 4));
    });
  });

  it('reads the states of the base that it scores with', async () => {
    const scores = await policy.score(rows, null);
    const states = await policy.statesAs(rows, (one) => one);
    states.forEach(({ tokens, hidden }, i) => {
      expect(tokens).toBe(rows[i]!.reply.length);
      expect(hidden).toEqual(scores[i]!.hidden);
    });
  });

  it('has the same gradients for them', async () => {
    const trainer = await policy.trainer(2, ({ logprobs }) => ({
      loss: op.reduceSum(op.mul(logprobs, logprobs), [0]),
    }));
    const [together, apart] = [new Map<string, Float32Array>(), new Map<string, Float32Array>()];
    await trainer.run(rows, adapter, {}, together);
    for (const row of rows) await trainer.run([row], adapter, {}, apart);
    await trainer.dispose();
    for (const [key, gradient] of together) {
      const size = Math.hypot(...apart.get(key)!);
      const distance = Math.hypot(...gradient.map((x, i) => x - apart.get(key)![i]!));
      expect(distance / size, key).toBeLessThan(1e-5);
    }
  });
});
