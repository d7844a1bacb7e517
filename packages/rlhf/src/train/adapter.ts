// What training does with LoRA adapters (arXiv 2106.09685): makes them, changes them in place, copies them.
import type { Adapter, LinearSite, Random } from '@rapport/core';
import type { Parameters } from '../optim/adamw.ts';

/** A trainable adapter: A uniform ±1/√in, B zero, so that it starts as the base. */
export function newAdapter(
  sites: readonly LinearSite[],
  { rank, alpha }: { rank: number; alpha: number },
  random: Random,
): Adapter {
  const targets = new Map(
    sites.map(({ path, inputs, outputs }) => {
      const bound = 1 / Math.sqrt(inputs);
      const a = Float32Array.from(
        { length: inputs * rank },
        () => (2 * random.uniform() - 1) * bound,
      );
      return [path, { a, b: new Float32Array(rank * outputs) }];
    }),
  );
  return { rank, alpha, targets };
}

/** The adapter's arrays by input name, shared, for the optimiser to change in place. */
export function parametersOf(adapter: Adapter): Parameters {
  return new Map(
    [...adapter.targets].flatMap(([path, { a, b }]) => [
      [`lora.${path}.a`, a],
      [`lora.${path}.b`, b],
    ]),
  );
}

/** The adapter with `by` times its effect, sharing its arrays. */
export const scaleAdapter = (adapter: Adapter, by: number): Adapter => ({
  ...adapter,
  alpha: adapter.alpha * by,
});

/** A deep copy. */
export const copyAdapter = (adapter: Adapter): Adapter => ({
  ...adapter,
  targets: new Map(
    [...adapter.targets].map(([p, { a, b }]) => [p, { a: a.slice(), b: b.slice() }]),
  ),
});
