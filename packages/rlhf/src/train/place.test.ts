// Which layers and linears an adapter changes.
import { beforeAll, describe, expect, it } from 'vitest';
import { Random } from '@rapport/core';
import type { Checkpoint, Runtime } from '@rapport/core';
import { nodeRuntime } from '../../../../tests/support/node-runtime.ts';
import { tinyCheckpoint } from '../../../../tests/support/tiny.ts';
import { newAdapter } from './adapter.ts';
import { runPipeline } from './pipeline.ts';
import { placeOf } from './policy-graph.ts';
import { Policy } from './policy.ts';

let checkpoint: Checkpoint;
let runtime: Runtime;

beforeAll(async () => {
  checkpoint = await tinyCheckpoint('llama-tied');
  runtime = await nodeRuntime(checkpoint);
});

const rankings = Array.from({ length: 6 }, (_, i) => ({
  prompt: [5, 6, 7 + i],
  replies: [
    [10 + i, 12, 2],
    [20 + i, 22, 2],
  ],
  ranks: [1, 2],
}));

async function trained(method: 'dpo' | 'kto' | 'sft' | 'ppo', place?: object) {
  const run = runPipeline(
    {
      ...{ rankings, text: [], heldOutText: [], method, seed: 1 },
      ...(place && { place }),
      ppo: { iterations: 1, maxTokens: 4, promptsPerIteration: 2 },
    },
    { checkpoint, runtime, endOfTurn: 2, now: () => 0 },
  );
  let next = await run.next();
  while (!next.done) next = await run.next();
  return next.value.adapter;
}

describe('the place of an adapter', () => {
  it.each(['dpo', 'kto', 'sft', 'ppo'] as const)('is what %s was told', async (method) => {
    const { targets } = await trained(method, { fromLayer: 0, targets: ['q_proj', 'down_proj'] });
    expect([...targets.keys()]).toEqual(
      [0, 1].flatMap((layer) => [
        `model.layers.${layer}.self_attn.q_proj`,
        `model.layers.${layer}.mlp.down_proj`,
      ]),
    );
    for (const { b } of targets.values()) expect(Math.max(...b.map(Math.abs))).toBeGreaterThan(0);
  });

  it('is all linears of the upper half where nothing is said', async () => {
    const { targets } = await trained('dpo');
    expect(targets.size).toBe(7);
    expect([...targets.keys()].every((path) => path.startsWith('model.layers.1.'))).toBe(true);
  });

  it('changes nothing of what is read of the base', async () => {
    const read = async (fromLayer: number) => {
      const policy = new Policy(checkpoint, runtime, { place: { fromLayer } });
      const rows = await policy.withTrunk([{ prompt: [5, 6], reply: [9, 2] }]);
      const states = await policy.statesAs(rows, ({ hidden }) => [...hidden]);
      await policy.dispose();
      return states[0]!;
    };
    const [low, high] = [await read(0), await read(1)];
    low.forEach((x, i) => expect(Math.abs(x - high[i]!)).toBeLessThan(1e-5));
  });

  it.each([
    [{ fromLayer: 2 }, 'no layer 2'],
    [{ targets: ['q_proj', 'w_proj'] }, 'no linear w_proj'],
  ])('is refused where the model has none: %j', (place, message) => {
    expect(() => new Policy(checkpoint, runtime, { place })).toThrow(message);
  });

  it('of adapters that are measured reaches down to the lowest of them', () => {
    const at = (fromLayer: number) =>
      newAdapter(
        new Policy(checkpoint, runtime, { place: { fromLayer } }).sites,
        { rank: 2, alpha: 2 },
        new Random(1),
      );
    expect(placeOf(checkpoint.config, [at(1), null])).toEqual({ fromLayer: 1 });
    expect(placeOf(checkpoint.config, [at(1), at(0)])).toEqual({ fromLayer: 0 });
    expect(placeOf(checkpoint.config, [null, undefined])).toEqual({ fromLayer: 1 });
  });
});
