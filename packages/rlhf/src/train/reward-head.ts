// The head of the reward model: a linear score of standardised features, fitted to rankings by the loss of
// InstructGPT (arXiv 2203.02155 eq. 1). It knows numbers, not where features come from.
import { AdamW } from '../optim/adamw.ts';
import type { Pair } from './rankings.ts';

/** The replies of one prompt as features, and which is better than which. One batch element. */
export interface RankedFeatures {
  readonly features: readonly Float64Array[];
  readonly pairs: readonly Pair[];
}

export interface HeadOptions {
  /** By how much the better reply must lead: −log σ(Δ − m). */
  readonly margin?: number;
  /** ε: the share of judgements taken to be flipped. */
  readonly labelSmoothing?: number;
  /** c of c·(r⁺ + r⁻)², which keeps scores near zero (arXiv 2312.09244 §2.1). */
  readonly centring?: number;
}

const LR = 3e-3;

/**
 * Minimises l2/2·|w|² + the mean over prompts of the mean over pairs of
 * −(1 − ε) log σ(x) − ε log σ(−x) + c·(r⁺ + r⁻)², x = r⁺ − r⁻ − m, r = w·feature, by Adam on full batches.
 *
 * The derivative by x is σ(x) − (1 − ε). Each reply is scored once, however many pairs it is in.
 */
export function fitHead(
  prompts: readonly RankedFeatures[],
  size: number,
  { l2, steps, ...options }: HeadOptions & { readonly l2: number; readonly steps: number },
): Float32Array {
  const w = new Float32Array(size);
  const parameters = new Map([['w', w]]);
  const adam = new AdamW({ betas: [0.9, 0.999] });
  for (let step = 0; step < steps; step++) {
    const gradient = w.map((x) => l2 * x);
    for (const { features, pairs } of prompts) {
      const scores = features.map((x) => dot(w, x));
      const pulls = pullsOf(scores, pairs, options);
      features.forEach((x, i) => {
        const pull = pulls[i]! / prompts.length;
        for (let k = 0; k < size; k++) gradient[k] = gradient[k]! + pull * x[k]!;
      });
    }
    adam.step(parameters, new Map([['w', gradient]]), LR);
  }
  return w;
}

/** Derivatives of the mean loss over pairs by each reply's score. */
function pullsOf(
  scores: readonly number[],
  pairs: readonly Pair[],
  { margin = 0, labelSmoothing = 0, centring = 0 }: HeadOptions,
): number[] {
  const pulls = scores.map(() => 0);
  for (const { better, worse } of pairs) {
    const [high, low] = [scores[better]!, scores[worse]!];
    const agreed = 1 / (1 + Math.exp(margin - (high - low)));
    const apart = agreed - 1 + labelSmoothing;
    const level = 2 * centring * (high + low);
    pulls[better]! += (level + apart) / pairs.length;
    pulls[worse]! += (level - apart) / pairs.length;
  }
  return pulls;
}

/** Σ a·b */
export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
