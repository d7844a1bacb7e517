// How far an adapter may be turned up before it costs too much ordinary text. What an adapter does to text it was not
// trained for grows faster with its scale than what it was trained for: the way back to where it started (arXiv
// 2406.16768, WARP's last step) is the cheapest leash there is, and the only one that acts on what is measured.
import type { Adapter } from '@rapport/core';
import { scaleAdapter } from './adapter.ts';
import { logprobOf } from './policy.ts';
import type { Policy } from './policy.ts';
import type { TrunkRow } from './rows.ts';

/** The most that the NLL of held-out answers by people may grow, relatively. */
export const NLL_LIMIT = 0.03;

/**
 * By how much the NLL of `text` grows with `adapter` at a scale, relatively; 0 where there is no text. `before`: that of the
 * base, summed.
 */
export function nllGrowth(
  policy: Policy,
  adapter: Adapter,
  { text, before }: { readonly text: readonly TrunkRow[]; readonly before: number },
  signal?: AbortSignal,
): (scale: number) => Promise<number> {
  return async (scale) => {
    if (text.length === 0) return 0;
    const scaled = scale === 1 ? adapter : scaleAdapter(adapter, scale);
    return nll(await policy.scoresAs(text, scaled, logprobOf, { signal })) / before - 1;
  };
}

/** Negative log-likelihood of rows, summed. */
export const nll = (logprobs: readonly number[]): number =>
  logprobs.reduce((sum, logprob) => sum - logprob, 0);

/** A scale and what was measured at it. */
export interface ScaledCost {
  readonly scale: number;
  readonly cost: number;
}

/** Costs below this are noise; what lies between this share of the limit and the limit is close enough. */
const LEAST_COST = 1e-4;
const CLOSE = 0.85;

/**
 * The largest scale up to 1 that was measured to cost at most `limit`, by the line of log cost over log scale
 * between two measurements, at first of that at scale 1 with slope 1.75, then of the nearest on both sides. Scale 0,
 * which costs nothing, when `rounds` further measurements found none.
 */
export async function scaleWithin(
  limit: number,
  measure: (scale: number) => Promise<number>,
  rounds = 5,
): Promise<ScaledCost> {
  const whole = await measure(1);
  if (whole <= limit) return { scale: 1, cost: whole };
  const level = (cost: number) => Math.log(Math.max(cost, LEAST_COST));
  const slope = (a: ScaledCost, b: ScaledCost) =>
    (level(a.cost) - level(b.cost)) / Math.log(a.scale / b.scale);
  let within: ScaledCost = { scale: 0, cost: 0 };
  let beyond: ScaledCost = { scale: 1, cost: whole };
  let power = 1.75;
  for (let round = 0; round < rounds && within.cost < CLOSE * limit; round++) {
    const step = (level(limit * ((1 + CLOSE) / 2)) - level(beyond.cost)) / power;
    const scale = beyond.scale * Math.exp(step);
    const next = { scale, cost: await measure(scale) };
    power = Math.max(0.5, slope(beyond, next));
    if (next.cost <= limit) within = next;
    else beyond = next;
    if (within.scale > 0) power = slope(beyond, within);
  }
  return within;
}
