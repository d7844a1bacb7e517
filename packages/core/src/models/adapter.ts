// LoRA adapters (arXiv 2106.09685) as graphs take them: named float32 arrays in feed layout,
// `lora.<path>.a` [in, r] and `lora.<path>.b` [r, out], the scale α/r applied when fed.
import { RapportError } from '../error.ts';
import { float32 } from '../graph/tensor.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { LinearSite } from './sites.ts';

export interface Adapter {
  readonly rank: number;
  readonly alpha: number;
  /** By module path: A [in, r] and B [r, out]. */
  readonly targets: ReadonlyMap<string, { readonly a: Float32Array; readonly b: Float32Array }>;
}

/**
 * Checks that an adapter is one for these linears.
 *
 * @throws RapportError `adapter/unfit` naming the first target that the model does not have, or has in
 * another size.
 */
export function checkAdapter(sites: readonly LinearSite[], { rank, targets }: Adapter): void {
  const known = new Map(sites.map((site) => [site.path, site]));
  for (const [path, { a, b }] of targets) {
    const site = known.get(path);
    if (!site) throw unfit(`it changes ${path}, which the model does not have`);
    if (a.length !== site.inputs * rank || b.length !== site.outputs * rank) {
      const found = `${a.length / rank} to ${b.length / rank}`;
      throw unfit(
        `its ${path} goes from ${found}, the model's from ${site.inputs} to ${site.outputs}`,
      );
    }
  }
}

const unfit = (why: string) =>
  new RapportError(
    'adapter/unfit',
    `The adapter was made for another model: ${why}.`,
    'Choose an adapter that was trained on this base.',
  );

/** Feeds of the adapter; at sites it does not touch, and for `null`, of rank 0: the base bit for bit. */
export function adapterFeeds(
  sites: readonly LinearSite[],
  adapter: Adapter | null,
): Record<string, Tensor> {
  const feeds: Record<string, Tensor> = {};
  for (const { path, inputs, outputs } of sites) {
    const found = adapter?.targets.get(path);
    const rank = found ? adapter!.rank : 0;
    const b = found ? scaled(found.b, adapter!.alpha / rank) : new Float32Array(0);
    feeds[`lora.${path}.a`] = float32([inputs, rank], found?.a ?? new Float32Array(0));
    feeds[`lora.${path}.b`] = float32([rank, outputs], b);
  }
  return feeds;
}

/**
 * One adapter that adds what `first` and `second` add: x·[A₁ A₂]·[s₁B₁; s₂B₂] = s₁·x·A₁·B₁ + s₂·x·A₂·B₂.
 * Its rank is the sum of theirs; where only one has a target, the other's share of the rank is zero.
 */
export function joinAdapters(first: Adapter | null, second: Adapter | null): Adapter | null {
  if (!first || !second) return first ?? second;
  const rank = first.rank + second.rank;
  const paths = new Set([...first.targets.keys(), ...second.targets.keys()]);
  const targets = new Map([...paths].map((path) => [path, joined(path, first, second)]));
  // The scales are in B already.
  return { rank, alpha: rank, targets };
}

function joined(path: string, first: Adapter, second: Adapter) {
  const [one, two] = [first.targets.get(path), second.targets.get(path)];
  const inputs = one ? one.a.length / first.rank : two!.a.length / second.rank;
  const outputs = one ? one.b.length / first.rank : two!.b.length / second.rank;
  const rank = first.rank + second.rank;
  const a = new Float32Array(inputs * rank);
  for (let i = 0; i < inputs; i++) {
    if (one) a.set(one.a.subarray(i * first.rank, (i + 1) * first.rank), i * rank);
    if (two) a.set(two.a.subarray(i * second.rank, (i + 1) * second.rank), i * rank + first.rank);
  }
  const b = new Float32Array(rank * outputs);
  if (one) b.set(scaled(one.b, first.alpha / first.rank));
  if (two) b.set(scaled(two.b, second.alpha / second.rank), first.rank * outputs);
  return { a, b };
}

/** by·values. */
function scaled(values: Float32Array, by: number): Float32Array {
  const product = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) product[i] = values[i]! * by;
  return product;
}
