// LoRA adapters (arXiv 2106.09685) as training sees them: named float32 arrays in feed layout,
// `lora.<path>.a` [in, r] and `lora.<path>.b` [r, out], the scale α/r applied when fed.
import { float32 } from '@rapport/core';
import type { Tensor } from '@rapport/core';
import type { Parameters } from '../optim/adamw.ts';
import type { Random } from '../optim/random.ts';
import type { LinearSite } from './llama.ts';

/** Structurally the adapter of core/models: what generation and releases take. */
export interface Adapter {
  readonly rank: number;
  readonly alpha: number;
  readonly targets: ReadonlyMap<string, { readonly a: Float32Array; readonly b: Float32Array }>;
}

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

/** Feeds of the adapter, or of no change at all (rank 1 of zeros) for `null`. */
export function adapterFeeds(
  sites: readonly LinearSite[],
  adapter: Adapter | null,
): Record<string, Tensor> {
  const feeds: Record<string, Tensor> = {};
  for (const { path, inputs, outputs } of sites) {
    const found = adapter?.targets.get(path);
    const rank = found ? adapter!.rank : 1;
    const scale = found ? adapter!.alpha / rank : 0;
    feeds[`lora.${path}.a`] = float32([inputs, rank], found?.a ?? new Float32Array(inputs));
    const b = found ? found.b.map((x) => x * scale) : new Float32Array(outputs);
    feeds[`lora.${path}.b`] = float32([rank, outputs], b);
  }
  return feeds;
}

/** A deep copy. */
export const copyAdapter = (adapter: Adapter): Adapter => ({
  ...adapter,
  targets: new Map(
    [...adapter.targets].map(([p, { a, b }]) => [p, { a: a.slice(), b: b.slice() }]),
  ),
});

/** The same adapter at `factor` of its strength. */
export const scaleAdapter = (adapter: Adapter, factor: number): Adapter => ({
  ...adapter,
  targets: new Map(
    [...adapter.targets].map(([p, { a, b }]) => [p, { a, b: b.map((x) => x * factor) }]),
  ),
});
