// Seeded random numbers whose state can be saved. xoshiro128** (https://prng.di.unimi.it/).

export type RandomState = readonly [number, number, number, number];

/** A generator of random numbers: the same seed gives the same run. */
export class Random {
  #s: [number, number, number, number];

  constructor(seed: number | RandomState) {
    this.#s = typeof seed === 'number' ? spread(seed) : [...seed];
  }

  /** Uniform in [0, 1). */
  uniform(): number {
    const s = this.#s;
    const result = Math.imul(rotate(Math.imul(s[1], 5), 7), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 11);
    return result / 2 ** 32;
  }

  /** A whole number from 0 to n − 1. */
  integer(n: number): number {
    return Math.floor(this.uniform() * n);
  }

  /** Standard normal (Box–Muller). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  /** A shuffled copy (Fisher–Yates). */
  shuffle<T>(items: readonly T[]): T[] {
    const out = [...items];
    for (let i = out.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      [out[i], out[j]] = [out[j]!, out[i]!];
    }
    return out;
  }

  /** What `new Random(state)` continues from. */
  state(): RandomState {
    return [...this.#s];
  }
}

const rotate = (x: number, k: number): number => (x << k) | (x >>> (32 - k));

/** splitmix32 fills the state from one number. */
function spread(seed: number): [number, number, number, number] {
  let h = seed | 0;
  const next = () => {
    h = (h + 0x9e3779b9) | 0;
    let z = h;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return z ^ (z >>> 15);
  };
  return [next(), next(), next(), next()];
}
