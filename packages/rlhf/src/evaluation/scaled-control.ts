// The control beside a pipeline: how far merely scaling the warm start goes. If that wins as often at the same KL,
// reinforcement has added nothing but what the two differ in elsewhere. It knows no model: KL is measured for it.

/** A scale and the KL per token that was measured at it. */
export interface ScaledKl {
  readonly scale: number;
  readonly kl: number;
}

/** Below this, in nats per token, a measured KL is noise. */
const LEAST_KL = 1e-4;
/** Measured within this factor of the target, the search ends. */
const CLOSE = 1.1;

/**
 * The scale at which the KL of an adapter is `target`, by secants of log KL over log scale from `whole` (scale
 * 1) on: KL grows like scale² near zero. Returns the measured point nearest to the target.
 */
export async function scaleForKl(
  target: number,
  whole: number,
  measure: (scale: number) => Promise<number>,
  rounds = 3,
): Promise<ScaledKl> {
  const level = (kl: number) => Math.log(Math.max(kl, LEAST_KL));
  const distance = ({ kl }: ScaledKl) => Math.abs(level(kl) - level(target));
  const points: ScaledKl[] = [{ scale: 1, kl: whole }];
  let power = 2;
  for (let round = 0; round < rounds; round++) {
    const last = points.at(-1)!;
    if (distance(last) <= Math.log(CLOSE)) break;
    const step = (level(target) - level(last.kl)) / power;
    const next = { scale: last.scale * Math.exp(step), kl: 0 };
    next.kl = await measure(next.scale);
    power = Math.max(1, Math.min(4, (level(next.kl) - level(last.kl)) / step));
    points.push(next);
  }
  return points.reduce((a, b) => (distance(b) < distance(a) ? b : a));
}
