// Loss and gradients of the real model against PyTorch's, all 30 layers, LoRA on Q and V:
// tests/golden/lora_gradient_golden.json and dpo_golden.json say how they were made.
import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { float32, int64, type Adapter, type Checkpoint, type Runtime } from '@rapport/core';
import { Policy, crossEntropy, dpoLoss, type Parameters } from '@rapport/rlhf';
import { realCheckpoint } from '../support/checkpoint.ts';
import { nodeRuntime } from '../support/node-runtime.ts';

interface Golden {
  loss: number;
  grads: Record<string, { sum: number; l2: number; first8: number[] }>;
}
const golden = async <T>(name: string): Promise<Golden & T> =>
  JSON.parse(
    await readFile(new URL(`../golden/${name}_golden.json`, import.meta.url), 'utf8'),
  ) as Golden & T;

let checkpoint: Checkpoint;
let runtime: Runtime;
let policy: Policy;
let adapter: Adapter;

const place = { fromLayer: 0, targets: ['q_proj', 'v_proj'] };

beforeAll(async () => {
  checkpoint = await realCheckpoint();
  runtime = await nodeRuntime(checkpoint);
  policy = new Policy(checkpoint, runtime, { place });
  adapter = { rank: 4, alpha: 8, targets: new Map() };
  for (const { path, inputs, outputs } of policy.sites) {
    const layer = Number(path.split('.')[2]);
    const a = new Float32Array(inputs * 4);
    const b = new Float32Array(4 * outputs);
    for (let r = 0; r < 4; r++) {
      for (let j = 0; j < inputs; j++) a[j * 4 + r] = 0.02 * Math.sin(r * 37 + j * 11 + layer);
      for (let o = 0; o < outputs; o++)
        b[r * outputs + o] = 0.02 * Math.cos(o * 13 + r * 7 + layer);
    }
    (adapter.targets as Map<string, { a: Float32Array; b: Float32Array }>).set(path, { a, b });
  }
}, 300_000);

/** Compares our [in, r] / [r, out] with PEFT's transposed arrays. */
function expectGradients(found: Parameters, { grads }: Golden): void {
  for (const [key, { l2, sum, first8 }] of Object.entries(grads)) {
    const [layer, module, side] = key.split('.') as [string, string, 'A' | 'B'];
    const g = found.get(`lora.model.layers.${layer}.self_attn.${module}.${side.toLowerCase()}`)!;
    const norm = Math.sqrt(g.reduce((a, x) => a + x * x, 0));
    expect(Math.abs(norm - l2) / l2).toBeLessThan(1e-3);
    const total = g.reduce((a, x) => a + x, 0);
    expect(Math.abs(total - sum)).toBeLessThan(1e-3 * Math.max(Math.abs(sum), l2));
    const columns = g.length / 4;
    first8.forEach((x, k) => {
      const [row, column] = side === 'A' ? [0, k] : [Math.floor(k / 4), k % 4];
      const ours = side === 'A' ? g[column * 4 + row]! : g[column * columns + row]!;
      expect(Math.abs(ours - x)).toBeLessThan(
        1e-3 * Math.max(Math.abs(x), l2 / Math.sqrt(g.length)),
      );
    });
  }
}

describe('SmolLM2 with LoRA on Q and V of all layers', () => {
  /** Loss and gradients of the golden cross-entropy. */
  async function crossEntropyBy(learner: Policy, { ids }: { ids: number[] }) {
    const rows = await learner.withTrunk([{ prompt: ids.slice(0, 1), reply: ids.slice(1) }]);
    const trainer = await learner.trainer(4, ({ logprobs, input }) => ({
      loss: crossEntropy(logprobs, input('weight', 'float32', ['N'])),
    }));
    const gradients: Parameters = new Map();
    const weight = float32([15], Array<number>(15).fill(1 / 15));
    const out = await trainer.run(rows, adapter, { weight }, gradients);
    await trainer.dispose();
    return { loss: Number(out['loss']!.data[0]), gradients };
  }

  it('has PyTorch’s cross-entropy and gradients', async () => {
    const expected = await golden<{ ids: number[] }>('lora_gradient');
    const { loss, gradients } = await crossEntropyBy(policy, expected);
    expect(loss).toBeCloseTo(expected.loss, 3);
    expectGradients(gradients, expected);
  }, 300_000);

  it('has them within what rounding the base to 8 bits costs', async () => {
    const expected = await golden<{ ids: number[] }>('lora_gradient');
    const small = new Policy(checkpoint, runtime, { place, base: 'int8' });
    const { loss, gradients } = await crossEntropyBy(small, expected);
    await small.dispose();
    expect(Math.abs(loss / expected.loss - 1)).toBeLessThan(2e-3);
    const off = [...(await crossEntropyBy(policy, expected)).gradients]
      .map(([name, g]) => {
        const difference = gradients.get(name)!.map((x, i) => x - g[i]!);
        return Math.hypot(...difference) / Math.hypot(...g);
      })
      .sort((x, y) => x - y);
    expect(off[off.length >> 1]).toBeLessThan(0.1);
    expect(off.at(-1)).toBeLessThan(0.35);
  }, 300_000);

  it('has PyTorch’s DPO step', async () => {
    const expected = await golden<{
      prompt_ids: number[];
      chosen_ids: number[];
      rejected_ids: number[];
      ref_logp: number[];
      policy_logp: number[];
    }>('dpo');
    const rows = await policy.withTrunk(
      [expected.chosen_ids, expected.rejected_ids].map((reply) => ({
        prompt: expected.prompt_ids,
        reply,
      })),
    );
    const sums = async (a: Adapter | null) =>
      (await policy.score(rows, a)).map((s) => s.logprobs.reduce((x, y) => x + y, 0));
    (await sums(null)).forEach((x, i) => expect(x).toBeCloseTo(expected.ref_logp[i]!, 2));
    (await sums(adapter)).forEach((x, i) => expect(x).toBeCloseTo(expected.policy_logp[i]!, 2));

    const trainer = await policy.trainer(4, (p) => ({
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
      ...policy.logratioFeeds(rows, expected.ref_logp),
      better: int64([1], [0]),
      worse: int64([1], [1]),
      pairWeight: float32([1], [1]),
    };
    const out = await trainer.run(rows, adapter, feeds, gradients);
    expect(Number(out['loss']!.data[0])).toBeCloseTo(expected.loss, 4);
    expectGradients(gradients, expected);
    await trainer.dispose();
    await policy.dispose();
  }, 300_000);
});
