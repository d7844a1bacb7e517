// Dropout (arXiv 1207.0580) in graphs without random numbers of their own: masks are made from a few numbers that
// are fed, so that a run repeats from its seed on every backend.
import { assert } from '../error.ts';
import * as op from '../graph/build.ts';
import type { Value } from '../graph/graph.ts';
import { float32 } from '../graph/tensor.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { Random } from '../random.ts';

/** Shares of numbers that are set to 0 while training; the others are scaled up to make good for them. */
export interface Dropout {
  /** Of what each adapter reads, as PEFT's `lora_dropout`. */
  readonly lora?: number;
  /** Of what attention and feed-forward add to the residual stream. */
  readonly residual?: number;
}

const PREFIX = 'dropout.';

/**
 * x [B, T, D] with a share of its numbers set to 0.
 *
 * From r [B, T, 1] and c [D], uniform in [0, 1): the element (t, i) is dropped where the fraction of r_t + c_i
 * is below the share. So each is with that probability, and any two independently of one another, for
 * r_t + c_i and r_t' + c_i' differ by a uniform number: mean and covariance are those of masks drawn one by
 * one, at the price of T + D random numbers instead of T·D.
 */
export function dropped(x: Value, share: number, name: string): Value {
  const { graph } = x;
  const rows = graph.input(`${PREFIX}${name}.rows`, 'float32', ['B', 'T', 1]);
  const columns = graph.input(`${PREFIX}${name}.columns`, 'float32', [x.shape.at(-1)!]);
  const sum = op.add(rows, columns);
  const uniform = op.where(op.less(sum, 1), sum, op.sub(sum, 1));
  return op.where(op.less(uniform, share), 0, op.mul(x, 1 / (1 - share)));
}

/** Fresh random numbers for every dropout among `inputs`, for a batch of B rows of T tokens. */
export function dropoutFeeds(
  inputs: readonly Value[],
  sizes: { readonly B: number; readonly T: number },
  random: Random | undefined,
): Record<string, Tensor> {
  const feeds: Record<string, Tensor> = {};
  for (const { name, shape } of inputs) {
    if (!name.startsWith(PREFIX)) continue;
    assert(random, `${name} needs random numbers`);
    const known = shape.map((d) => (typeof d === 'number' ? d : sizes[d as 'B' | 'T']));
    const count = known.reduce((a, b) => a * b, 1);
    feeds[name] = float32(
      known,
      Float32Array.from({ length: count }, () => random.uniform()),
    );
  }
  return feeds;
}
