// From scores to a token: temperature, top-k, top-p, min-p and repetition penalty, seeded.
import { Random } from '../random.ts';
import type { SamplingWithSeed } from './speech.ts';

export interface Choice {
  id: number;
  /** Natural log of the token's share under the temperature-scaled softmax, before anything is cut off. */
  logprob: number;
}

/** Draws the tokens of one reply. */
export class Sampler {
  readonly #sampling: SamplingWithSeed;
  readonly #random: Random;

  constructor(sampling: SamplingWithSeed) {
    this.#sampling = sampling;
    this.#random = new Random(sampling.seed);
  }

  /** The next token for `logits` [V], given what has been said so far. */
  next(logits: Float32Array, said: readonly number[]): Choice {
    const { temperature, repetitionPenalty } = this.#sampling;
    const greedy = temperature === 0;
    const scale = greedy ? 1 : 1 / temperature;
    const norm = logSumExp(logits, scale);
    const scores = repetitionPenalty === 1 ? logits : penalised(logits, said, repetitionPenalty);
    const id = greedy ? largest(scores) : this.#draw(scores, scale);
    return { id, logprob: logits[id]! * scale - norm };
  }

  #draw(scores: Float32Array, scale: number): number {
    const { topK, topP, minP } = this.#sampling;
    const best = scores[largest(scores)]! * scale;
    const floor = best + Math.log(Math.max(minP, 1e-6));
    let kept: { id: number; weight: number }[] = [];
    for (let id = 0; id < scores.length; id++) {
      const score = scores[id]! * scale;
      if (score >= floor) kept.push({ id, weight: Math.exp(score - best) });
    }
    kept.sort((a, b) => b.weight - a.weight);
    if (topK > 0) kept = kept.slice(0, topK);
    const total = kept.reduce((sum, { weight }) => sum + weight, 0);
    let reached = 0;
    const cut = kept.findIndex(({ weight }) => (reached += weight) >= topP * total);
    if (cut >= 0) kept = kept.slice(0, cut + 1);
    let left = this.#random.uniform() * kept.reduce((sum, { weight }) => sum + weight, 0);
    return (kept.find(({ weight }) => (left -= weight) < 0) ?? kept[0]!).id;
  }
}

/** Scores of tokens that were said are drawn towards "less likely" (arXiv 1909.05858, section 4.1). */
function penalised(logits: Float32Array, said: readonly number[], penalty: number): Float32Array {
  const scores = logits.slice();
  for (const id of new Set(said)) {
    scores[id] = scores[id]! > 0 ? scores[id]! / penalty : scores[id]! * penalty;
  }
  return scores;
}

function largest(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

function logSumExp(logits: Float32Array, scale: number): number {
  const best = logits[largest(logits)]! * scale;
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i]! * scale - best);
  return best + Math.log(sum);
}
