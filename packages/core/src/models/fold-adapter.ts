// An adapter made part of the weights: a checkpoint that another adapter can be learned on top of.
import type { Checkpoint } from '../weights/checkpoint.ts';
import type { Adapter } from './adapter.ts';

/** The checkpoint whose linears are W + (α/r)·(A·B)ᵀ. Its stored blocks are no longer what it is. */
export function foldAdapter(checkpoint: Checkpoint, adapter: Adapter): Checkpoint {
  const { config, tokenizer, tensors } = checkpoint;
  const scale = adapter.alpha / adapter.rank;
  return {
    config,
    tokenizer,
    tensors,
    async read(name) {
      const weight = await checkpoint.read(name);
      const target = adapter.targets.get(name.replace(/\.weight$/, ''));
      if (!target || !name.endsWith('.weight')) return weight;
      return added(weight, target, adapter.rank, scale);
    },
  };
}

/** W [out, in] + scale·(A [in, r] · B [r, out])ᵀ. */
function added(
  weight: Float32Array,
  { a, b }: { readonly a: Float32Array; readonly b: Float32Array },
  rank: number,
  scale: number,
): Float32Array {
  const [inputs, outputs] = [a.length / rank, b.length / rank];
  const sum = weight.slice();
  for (let o = 0; o < outputs; o++) {
    for (let i = 0; i < inputs; i++) {
      let x = 0;
      for (let r = 0; r < rank; r++) x += a[i * rank + r]! * b[r * outputs + o]!;
      sum[o * inputs + i] = sum[o * inputs + i]! + scale * x;
    }
  }
  return sum;
}
