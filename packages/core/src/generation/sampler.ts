// From scores to a token: temperature, top-k, top-p, min-p and repetition penalty, seeded. One pass of
// exponentials serves the log-prob and the draw; nothing is allocated per token.
import { RapportError } from '../error.ts';
import { Random } from '../random.ts';
import { exponentials } from './exponentials.ts';
import { LargestFirst } from './largest-first.ts';
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
  /** What this reply has said: the penalty is for these. */
  readonly #said: Set<number>;
  /** Of each token, its share of the softmax times a constant: exp(score − best). */
  #weights = new Float64Array(0);
  #kept = new LargestFirst(0);

  /** `said`: tokens of the reply so far, each of which has used up its random number. */
  constructor(sampling: SamplingWithSeed, said: readonly number[] = []) {
    this.#sampling = sampling;
    this.#random = new Random(sampling.seed);
    if (sampling.temperature > 0) said.forEach(() => this.#random.uniform());
    this.#said = new Set(said);
  }

  /**
   * The next token for `logits` [V].
   *
   * @throws RapportError `generation/not-a-number` for scores that are none.
   */
  next(logits: Float32Array): Choice {
    const { temperature, repetitionPenalty } = this.#sampling;
    const scale = temperature === 0 ? 1 : 1 / temperature;
    const best = largest(logits);
    const norm = this.#weigh(logits, scale, logits[best]!);
    if (!Number.isFinite(norm)) throw notANumber();
    if (repetitionPenalty !== 1) this.#penalise(logits, scale, logits[best]!);
    const id = temperature === 0 ? this.#greediest(best) : this.#draw();
    this.#said.add(id);
    return { id, logprob: logits[id]! * scale - norm };
  }

  /** Fills the weights; gives log Σ exp(score). */
  #weigh(logits: Float32Array, scale: number, best: number): number {
    if (this.#weights.length !== logits.length) this.#weights = new Float64Array(logits.length);
    const sum = exponentials(logits, { best, scale }, this.#weights);
    return best * scale + Math.log(sum);
  }

  /** Scores of tokens that were said are drawn towards "less likely" (arXiv 1909.05858, section 4.1). */
  #penalise(logits: Float32Array, scale: number, best: number): void {
    const { repetitionPenalty } = this.#sampling;
    for (const id of this.#said) {
      const score = logits[id]!;
      const less = score > 0 ? score / repetitionPenalty : score * repetitionPenalty;
      this.#weights[id] = Math.exp((less - best) * scale);
    }
  }

  #greediest(best: number): number {
    return this.#sampling.repetitionPenalty === 1 ? best : largest(this.#weights);
  }

  #draw(): number {
    const { topK, topP, minP } = this.#sampling;
    const weights = this.#weights;
    const [most, total] = mostAndTotal(weights);
    if (topK === 0 && topP >= 1) return this.#pick(weights, undefined, minP * most, weights.length);
    // Tokens below `tail` together weigh less than what top-p leaves out: the nucleus is above it.
    const tail = topK > 0 ? 0 : ((1 - topP) * total) / weights.length;
    if (this.#kept.capacity !== weights.length) this.#kept = new LargestFirst(weights.length);
    const kept = this.#kept.of(weights, topK || weights.length, Math.max(minP * most, tail));
    const whole = topK > 0 || minP > 0 ? sumOf(weights, kept) : total;
    let reached = 0;
    let count = 0;
    while (count < kept.length && reached < topP * whole) reached += weights[kept[count++]!]!;
    return this.#pick(weights, kept, 0, Math.max(1, count));
  }

  /** Draws among the first `count` of `ids` (or of all tokens) that weigh at least `floor`. */
  #pick(weights: Float64Array, ids: Int32Array | undefined, floor: number, count: number): number {
    let sum = 0;
    for (let i = 0; i < count; i++) {
      const weight = weights[ids ? ids[i]! : i]!;
      if (weight >= floor) sum += weight;
    }
    let left = this.#random.uniform() * sum;
    let last = 0;
    for (let i = 0; i < count; i++) {
      const id = ids ? ids[i]! : i;
      const weight = weights[id]!;
      if (weight < floor || weight === 0) continue;
      last = id;
      left -= weight;
      if (left < 0) return id;
    }
    return last;
  }
}

function largest(values: Float32Array | Float64Array): number {
  let best = 0;
  let most = values[0]!;
  for (let i = 1; i < values.length; i++) {
    const value = values[i]!;
    if (value > most) [best, most] = [i, value];
  }
  return best;
}

function mostAndTotal(weights: Float64Array): [most: number, total: number] {
  let most = 0;
  let total = 0;
  for (let i = 0; i < weights.length; i++) {
    const weight = weights[i]!;
    total += weight;
    if (weight > most) most = weight;
  }
  return [most, total];
}

function sumOf(weights: Float64Array, ids: Int32Array): number {
  let sum = 0;
  for (let i = 0; i < ids.length; i++) sum += weights[ids[i]!]!;
  return sum;
}

const notANumber = () =>
  new RapportError(
    'generation/not-a-number',
    'The model computed scores that are no numbers.',
    'Choose another backend in the settings, or load the model again.',
  );
