// AdamW (arXiv 1711.05101) over named float32 arrays, with PyTorch's placement of ε: outside the
// bias-corrected root. State is plain data, so a run resumes bit for bit.

/** Named parameters, gradients or moments. */
export type Parameters = Map<string, Float32Array>;

export interface AdamOptions {
  readonly betas?: readonly [number, number];
  readonly epsilon?: number;
  readonly weightDecay?: number;
}

export interface AdamState {
  readonly step: number;
  readonly first: Parameters;
  readonly second: Parameters;
}

/** θ ← θ − lr·(m̂/(√v̂ + ε) + wd·θ), in place. */
export class AdamW {
  #step = 0;
  #first: Parameters = new Map();
  #second: Parameters = new Map();
  readonly #betas: readonly [number, number];
  readonly #epsilon: number;
  readonly #weightDecay: number;

  constructor({ betas = [0.9, 0.99], epsilon = 1e-8, weightDecay = 0 }: AdamOptions = {}) {
    this.#betas = betas;
    this.#epsilon = epsilon;
    this.#weightDecay = weightDecay;
  }

  /** One update of every parameter that has a gradient. */
  step(parameters: Parameters, gradients: ReadonlyMap<string, Float32Array>, lr: number): void {
    this.#step++;
    const [b1, b2] = this.#betas;
    const unbias1 = 1 - b1 ** this.#step;
    const unbias2 = Math.sqrt(1 - b2 ** this.#step);
    for (const [name, g] of gradients) {
      const theta = parameters.get(name)!;
      const m = moment(this.#first, name, g.length);
      const v = moment(this.#second, name, g.length);
      for (let i = 0; i < g.length; i++) {
        const gi = g[i]!;
        const mi = (m[i] = b1 * m[i]! + (1 - b1) * gi);
        const vi = (v[i] = b2 * v[i]! + (1 - b2) * gi * gi);
        const kept = theta[i]! * (1 - lr * this.#weightDecay);
        theta[i] = kept - (lr / unbias1) * (mi / (Math.sqrt(vi) / unbias2 + this.#epsilon));
      }
    }
  }

  state(): AdamState {
    return { step: this.#step, first: copy(this.#first), second: copy(this.#second) };
  }

  restore(state: AdamState): void {
    this.#step = state.step;
    this.#first = copy(state.first);
    this.#second = copy(state.second);
  }
}

function moment(moments: Parameters, name: string, length: number): Float32Array {
  let found = moments.get(name);
  if (!found) moments.set(name, (found = new Float32Array(length)));
  return found;
}

/** A deep copy of named arrays. */
const copy = (p: ReadonlyMap<string, Float32Array>): Parameters =>
  new Map([...p].map(([name, data]) => [name, data.slice()]));

/** Euclidean norm of all arrays together. */
export function globalNorm(gradients: ReadonlyMap<string, Float32Array>): number {
  let sum = 0;
  for (const g of gradients.values()) for (let i = 0; i < g.length; i++) sum += g[i]! * g[i]!;
  return Math.sqrt(sum);
}

/** Scales gradients in place so that their global norm is at most `max`; returns the norm before. */
export function clipNorm(gradients: ReadonlyMap<string, Float32Array>, max: number): number {
  const norm = globalNorm(gradients);
  if (norm > max) addScaled(gradients, gradients, max / norm - 1);
  return norm;
}

/** into += scale·from, in place. (A loop: callbacks of typed arrays take several times as long.) */
export function addScaled(
  into: ReadonlyMap<string, Float32Array>,
  from: ReadonlyMap<string, Float32Array>,
  scale: number,
): void {
  for (const [name, x] of from) {
    const sum = into.get(name)!;
    for (let i = 0; i < x.length; i++) sum[i] = sum[i]! + scale * x[i]!;
  }
}

/** into += from, in place; what `into` has not yet it takes over. */
export function accumulate(into: Parameters, from: Parameters): void {
  for (const [name, x] of from) {
    const sum = into.get(name);
    if (sum) for (let i = 0; i < x.length; i++) sum[i] = sum[i]! + x[i]!;
    else into.set(name, x);
  }
}
