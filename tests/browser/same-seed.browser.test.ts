// Training on graphics (here an adapter in software): one seed gives one adapter, by the losses of the processor.
import { expect, test } from 'vitest';
import type { Runtime } from '@rapport/core';
import { dpoDefaults, Policy, trainDpo } from '@rapport/rlhf';
import { startBackend } from '../../apps/web/src/workers/backend.ts';
import { hasAdapter } from '../support/graphics.ts';
import { tinyCheckpoint } from '../support/tiny-in-browser.ts';

const checkpoint = await tinyCheckpoint('llama-tied');
const config = { ...dpoDefaults, minSteps: 3, maxSteps: 3, ptxRows: 0, seed: 7 };

async function learn(runtime: Runtime) {
  const policy = new Policy(checkpoint, runtime);
  const [prompt, ranks] = [
    [5, 9, 33],
    [1, 2],
  ];
  const rows = await policy.withTrunk(
    [
      [12, 40, 2],
      [7, 61, 2],
    ].map((reply) => ({ prompt, reply })),
  );
  const refLogprobs = (await policy.score(rows, null)).map(({ logprobs }) => logprobs);
  const run = trainDpo(policy, [{ rows, refLogprobs, ranks }], [], config);
  const losses: number[] = [];
  for (;;) {
    const next = await run.next();
    if (next.done) {
      await policy.dispose();
      return { losses, targets: next.value.adapter.targets };
    }
    losses.push(next.value.loss);
  }
}

test.skipIf(!(await hasAdapter()))(
  'one seed gives one adapter on WebGPU, bit for bit, near that of WASM',
  async () => {
    const { name, runtime } = await startBackend('webgpu');
    expect(name).toBe('WebGPU');
    const [first, second] = [await learn(runtime), await learn(runtime)];
    expect(first.losses).toHaveLength(3);
    expect(second).toEqual(first);
    const { losses } = await learn((await startBackend('wasm')).runtime);
    expect(losses[2]).toBeLessThan(losses[0]!);
    first.losses.forEach((loss, i) => expect(Math.abs(loss - losses[i]!)).toBeLessThan(1e-2));
  },
);
