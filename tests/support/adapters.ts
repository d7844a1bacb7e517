// Random adapters, and what they are in the weights: the oracle of every test of adapters.
import { Random, type Adapter, type Checkpoint, type LinearSite } from '@rapport/core';

/** An adapter whose A and B are both random, large enough to change every score. */
export function randomAdapter(
  sites: readonly LinearSite[],
  { rank, alpha, seed }: { rank: number; alpha: number; seed: number },
): Adapter {
  const random = new Random(seed);
  const numbers = (count: number) =>
    Float32Array.from({ length: count }, () => (2 * random.uniform() - 1) / 4);
  const targets = new Map(
    sites.map(({ path, inputs, outputs }) => [
      path,
      { a: numbers(inputs * rank), b: numbers(rank * outputs) },
    ]),
  );
  return { rank, alpha, targets };
}

/** The checkpoint with W + α/r·(A·B)ᵀ in place of W, for each adapter in turn. */
export function merged(checkpoint: Checkpoint, adapters: readonly Adapter[]): Checkpoint {
  return {
    ...checkpoint,
    async read(name) {
      const weight = (await checkpoint.read(name)).slice();
      for (const adapter of adapters) {
        const target = adapter.targets.get(name.replace(/\.weight$/, ''));
        if (target) addProduct(weight, target, adapter);
      }
      return weight;
    },
  };
}

function addProduct(
  weight: Float32Array,
  { a, b }: { a: Float32Array; b: Float32Array },
  { rank, alpha }: Adapter,
): void {
  const [inputs, outputs] = [a.length / rank, b.length / rank];
  for (let o = 0; o < outputs; o++) {
    for (let i = 0; i < inputs; i++) {
      let sum = 0;
      for (let r = 0; r < rank; r++) sum += a[i * rank + r]! * b[r * outputs + o]!;
      weight[o * inputs + i]! += (alpha / rank) * sum;
    }
  }
}
