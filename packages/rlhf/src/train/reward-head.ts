// The head of the reward model: a linear score of standardised features, fitted to rankings by the loss of
// InstructGPT (arXiv 2203.02155 eq. 1). It knows numbers, not where features come from.
import { dot, minimise } from '../optim/lbfgs.ts';
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

/**
 * Minimises l2/2·|w|² + the mean over prompts of the mean over pairs of
 * −(1 − ε) log σ(x) − ε log σ(−x) + c·(r⁺ + r⁻)², x = r⁺ − r⁻ − m, r = w·feature: a convex function.
 *
 * Each reply is scored once, however many pairs it is in.
 */
export function fitHead(
  prompts: readonly RankedFeatures[],
  size: number,
  { l2, ...options }: HeadOptions & { readonly l2: number },
): Float32Array {
  const lossAt = (w: Float64Array) => {
    let value = (l2 / 2) * dot(w, w);
    const gradient = w.map((x) => l2 * x);
    for (const { features, pairs } of prompts) {
      const scores = features.map((x) => dot(w, x));
      const { loss, pulls } = pairLoss(scores, pairs, options);
      value += loss / prompts.length;
      features.forEach((x, i) => {
        const pull = pulls[i]! / prompts.length;
        for (let k = 0; k < size; k++) gradient[k] = gradient[k]! + pull * x[k]!;
      });
    }
    return { value, gradient };
  };
  return Float32Array.from(minimise(lossAt, new Float64Array(size)));
}

/** The mean loss over pairs, and its derivatives by each reply's score: that by x is σ(x) − (1 − ε). */
function pairLoss(
  scores: readonly number[],
  pairs: readonly Pair[],
  { margin = 0, labelSmoothing = 0, centring = 0 }: HeadOptions,
): { loss: number; pulls: number[] } {
  const pulls = scores.map(() => 0);
  let loss = 0;
  for (const { better, worse } of pairs) {
    const [high, low] = [scores[better]!, scores[worse]!];
    const lead = high - low - margin;
    // −log σ(x) = softplus(−x), and softplus(x) = softplus(−x) + x.
    loss += softplus(-lead) + labelSmoothing * lead + centring * (high + low) ** 2;
    const apart = 1 / (1 + Math.exp(-lead)) - 1 + labelSmoothing;
    const level = 2 * centring * (high + low);
    pulls[better]! += (level + apart) / pairs.length;
    pulls[worse]! += (level - apart) / pairs.length;
  }
  return { loss: loss / pairs.length, pulls };
}

const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
