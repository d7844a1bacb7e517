// What training does with LoRA adapters (arXiv 2106.09685): makes them, changes them in place, copies them.
import type { Adapter, LinearSite, Random } from '@rapport/core';
import type { Parameters } from '../optim/adamw.ts';

/** How large an adapter is and how strongly it counts. */
export interface LoraConfig {
  readonly rank: number;
  readonly alpha: number;
  /** Scale by α/√r instead of α/r (rsLoRA, arXiv 2312.03732), so that large ranks do not fade. */
  readonly rsLora?: boolean;
}

/** A trainable adapter: A uniform ±1/√in, B zero, so that it starts as the base. */
export function newAdapter(
  sites: readonly LinearSite[],
  { rank, alpha, rsLora = false }: LoraConfig,
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
  return { rank, alpha: rsLora ? alpha * Math.sqrt(rank) : alpha, targets };
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

/** The same effect as `scaleAdapter` with its α kept: a copy whose B is `by` times as large. */
export const shrinkAdapter = (adapter: Adapter, by: number): Adapter => ({
  ...adapter,
  targets: new Map(
    [...adapter.targets].map(([p, { a, b }]) => [p, { a, b: b.map((x) => by * x) }]),
  ),
});

/** A deep copy. */
export const copyAdapter = (adapter: Adapter): Adapter => ({
  ...adapter,
  targets: new Map(
    [...adapter.targets].map(([p, { a, b }]) => [p, { a: a.slice(), b: b.slice() }]),
  ),
});
