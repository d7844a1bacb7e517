// L-BFGS (Nocedal 1980): the least value of a smooth convex function from its values and gradients. It knows no model.

export interface Point {
  readonly value: number;
  readonly gradient: Float64Array;
}

/** Steps that are remembered. */
const MEMORY = 10;
/** How much of the promised decrease a step must bring (Armijo). */
const ENOUGH = 1e-4;
const MOST_HALVINGS = 30;

/**
 * Where `at` is least, from `start`. Ends when no component of the gradient exceeds `tolerance`, when no step along the
 * direction is better, or after `iterations`.
 *
 * `at`: value and gradient at a point; convex, so that curvature along a step is never negative.
 */
export function minimise(
  at: (x: Float64Array) => Point,
  start: Float64Array,
  { tolerance = 1e-6, iterations = 200 }: { tolerance?: number; iterations?: number } = {},
): Float64Array {
  let x = start;
  let here = at(x);
  const steps: { dx: Float64Array; dg: Float64Array; curvature: number }[] = [];
  for (let i = 0; i < iterations; i++) {
    if (here.gradient.every((g) => Math.abs(g) <= tolerance)) break;
    const direction = newtonDirection(here.gradient, steps);
    const slope = dot(direction, here.gradient);
    // Nothing is known of the scale at first: no component moves by more than 1.
    let size = steps.length > 0 ? 1 : 1 / Math.max(1, ...here.gradient.map(Math.abs));
    let next = x;
    let there = here;
    for (let halving = 0; halving < MOST_HALVINGS; halving++, size /= 2) {
      const moved = x.map((xi, k) => xi + size * direction[k]!);
      const seen = at(moved);
      if (seen.value > here.value + ENOUGH * size * slope) continue;
      [next, there] = [moved, seen];
      break;
    }
    if (next === x) break;
    const dx = next.map((xi, k) => xi - x[k]!);
    const dg = there.gradient.map((g, k) => g - here.gradient[k]!);
    const curvature = dot(dx, dg);
    if (curvature > 0) steps.push({ dx, dg, curvature });
    if (steps.length > MEMORY) steps.shift();
    [x, here] = [next, there];
  }
  return x;
}

/** −H⁻¹·gradient, H by the remembered steps: the two loops of Nocedal & Wright, algorithm 7.4. */
function newtonDirection(
  gradient: Float64Array,
  steps: readonly { dx: Float64Array; dg: Float64Array; curvature: number }[],
): Float64Array {
  const q = gradient.map((g) => -g);
  const alphas = steps.map(() => 0);
  for (let i = steps.length - 1; i >= 0; i--) {
    const { dx, dg, curvature } = steps[i]!;
    alphas[i] = dot(dx, q) / curvature;
    addScaled(q, dg, -alphas[i]!);
  }
  const last = steps.at(-1);
  const scale = last ? last.curvature / dot(last.dg, last.dg) : 1;
  for (let k = 0; k < q.length; k++) q[k] = q[k]! * scale;
  steps.forEach(({ dx, dg, curvature }, i) => {
    addScaled(q, dx, alphas[i]! - dot(dg, q) / curvature);
  });
  return q;
}

function addScaled(to: Float64Array, from: Float64Array, factor: number): void {
  for (let k = 0; k < to.length; k++) to[k] = to[k]! + factor * from[k]!;
}

/** Σ a·b */
export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
