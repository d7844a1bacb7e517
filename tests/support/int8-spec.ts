// The base held as integers of 8 bits in the graphs of training, on any runtime, against the same rounded numbers held
// as floats.
import { beforeAll, describe, expect, it } from 'vitest';
import { blockScales, float32, linearSites, toInt8 } from '@rapport/core';
import type { Checkpoint, Runtime } from '@rapport/core';
import { crossEntropy, Policy } from '@rapport/rlhf';
import type { Parameters, Row } from '@rapport/rlhf';
import { randomAdapter } from './adapters.ts';

const rows: Row[] = [
  { prompt: [5, 9, 33], reply: [12, 40, 7, 61] },
  { prompt: [5, 9], reply: [3, 8, 21, 30, 44] },
];
const tokens = rows.reduce((n, { reply }) => n + reply.length, 0);

/** The checkpoint whose linears are what their integers stand for. */
function rounded(checkpoint: Checkpoint): Checkpoint {
  const { config, tokenizer, tensors } = checkpoint;
  const linears = new Set(linearSites(config, 0, config.layers).map(({ path }) => path));
  return {
    ...{ config, tokenizer, tensors },
    async read(name) {
      const matrix = await checkpoint.read(name);
      if (!name.endsWith('.weight') || !linears.has(name.slice(0, -7))) return matrix;
      const scales = blockScales(matrix, tensors.get(name)!.shape[1]!);
      const block = matrix.length / scales.length;
      return Float32Array.from(
        toInt8(matrix, scales),
        (q, i) => q * scales[Math.floor(i / block)]!,
      );
    },
  };
}

interface Learned {
  readonly loss: number;
  readonly logprobs: readonly number[];
  readonly gradients: Parameters;
}

export function testInt8(
  open: () => Promise<Checkpoint>,
  runtimeOf: (checkpoint: Checkpoint) => Promise<Runtime>,
): void {
  let checkpoint: Checkpoint;
  beforeAll(async () => {
    checkpoint = await open();
  });

  async function learn(
    from: Checkpoint,
    options: { base?: 'int8'; activationBytes?: number },
  ): Promise<Learned> {
    const place = { fromLayer: 0 };
    const policy = new Policy(from, await runtimeOf(from), { place, ...options });
    const adapter = randomAdapter(policy.sites, { rank: 4, alpha: 8, seed: 2 });
    const read = await policy.withTrunk(rows);
    const scores = await policy.score(read, adapter);
    const trainer = await policy.trainer(4, (p) => ({
      loss: crossEntropy(p.logprobs, p.input('weight', 'float32', ['N'])),
    }));
    const gradients: Parameters = new Map();
    const weight = float32([tokens], new Float32Array(tokens).fill(1 / tokens));
    const out = await trainer.run(read, adapter, { weight }, gradients);
    await trainer.dispose();
    await policy.dispose();
    const logprobs = scores.flatMap((score) => [...score.logprobs]);
    return { loss: Number(out['loss']!.data[0]), logprobs, gradients };
  }

  function expectClose(found: Learned, expected: Learned, share: number): void {
    expect(Math.abs(found.loss - expected.loss)).toBeLessThan(share * expected.loss);
    found.logprobs.forEach((x, i) =>
      expect(Math.abs(x - expected.logprobs[i]!)).toBeLessThan(share * 5),
    );
    expect([...found.gradients.keys()]).toEqual([...expected.gradients.keys()]);
    for (const [name, g] of expected.gradients) {
      const off = found.gradients.get(name)!.map((x, i) => x - g[i]!);
      expect(Math.hypot(...off) / Math.hypot(...g), name).toBeLessThan(share);
    }
  }

  describe('a base of 8 bits', () => {
    it.each([undefined, 0])(
      'has loss, scores and gradients of the rounded weights (memory %s)',
      async (bytes) => {
        const memory = bytes === undefined ? {} : { activationBytes: bytes };
        const found = await learn(checkpoint, { base: 'int8', ...memory });
        expectClose(found, await learn(rounded(checkpoint), {}), 1e-5);
      },
    );

    it('is within five hundredths of the weights as they are', async () => {
      const found = await learn(checkpoint, { base: 'int8' });
      const whole = await learn(checkpoint, {});
      expectClose(found, whole, 5e-2);
      expect(found.loss).not.toBe(whole.loss);
    });
  });
}
