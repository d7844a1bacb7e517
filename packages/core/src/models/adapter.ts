// LoRA adapters (arXiv 2106.09685) as graphs take them: named float32 arrays in feed layout,
// `lora.<path>.a` [in, r] and `lora.<path>.b` [r, out], the scale α/r applied when fed.
import { float32 } from '../graph/tensor.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { LinearSite } from './sites.ts';

export interface Adapter {
  readonly rank: number;
  readonly alpha: number;
  /** By module path: A [in, r] and B [r, out]. */
  readonly targets: ReadonlyMap<string, { readonly a: Float32Array; readonly b: Float32Array }>;
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
