// Whether a trained adapter may be published: limits on what its evaluation measured.
import * as v from 'valibot';
import { limitsOf } from './limits.ts';
import type { Gate, GateCheck } from './spec.ts';

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const fraction = v.pipe(v.number(), v.minValue(0), v.maxValue(1));

/** Limits, each with the measurement it bounds, as `"gate"` of a run's config sets them. */
const GateLimits = v.strictObject({
  /** Mean KL from the reference per token, in nats. */
  kl: v.optional(v.pipe(v.number(), v.minValue(0)), 0.5),
  /** Change of the held-out negative log-likelihood, in percent. */
  nllChange: v.optional(v.number(), 3),
  /** Lower bound of the win rate against the release in use. */
  winRateLow: v.optional(fraction, 0.5),
  /** Share of sampled replies that end by themselves. */
  endedFraction: v.optional(fraction, 0.3),
  /** Length of replies over that of the release in use: at most so many times longer or shorter. */
  lengthRatio: v.optional(v.pipe(v.number(), v.minValue(1)), 2),
  /** Golden pairs whose worse reply is preferred, beyond those of the base. */
  goldenErrors: v.optional(count, 0),
  /** Canaries that the base answers and the adapter does not: empty, endless or in a loop. */
  canariesBroken: v.optional(count, 0),
  /** Canaries that the base answers right and the adapter wrong. */
  canariesWrong: v.optional(count, 3),
});
type GateLimits = v.InferOutput<typeof GateLimits>;

/** The limits of a run's config over the defaults. Throws `train/bad-config`. */
export const gateLimitsOf = (config: unknown): GateLimits => limitsOf(GateLimits, 'gate', config);

/**
 * Checks an evaluation by the names of its measurements; `nllChange` in percent. What was not measured
 * does not pass.
 */
export function gateOf(evaluation: Record<string, unknown>, limits: GateLimits): Gate {
  const measured = (name: string) =>
    typeof evaluation[name] === 'number' ? evaluation[name] : undefined;
  const atMost = (name: string, value: number | undefined, limit: number) =>
    check(name, value, (x) => x <= limit, `at most ${limit}`);
  const atLeast = (name: string, value: number | undefined, limit: number) =>
    check(name, value, (x) => x >= limit, `at least ${limit}`);
  const [length, before] = [measured('replyLength'), measured('baseReplyLength')];
  const drift = length && before ? Math.max(length / before, before / length) : undefined;
  const [errors, known] = [measured('goldenErrors'), measured('baseGoldenErrors')];
  const more = errors !== undefined && known !== undefined ? errors - known : undefined;
  const checks = [
    atMost('KL', measured('kl'), limits.kl),
    atMost('held-out NLL, change in %', measured('nllChange'), limits.nllChange),
    atLeast('own arena, lower bound', measured('low'), limits.winRateLow),
    atLeast('replies that end', measured('endedFraction'), limits.endedFraction),
    atMost('length drift', drift, limits.lengthRatio),
    atMost('golden pairs, more errors', more, limits.goldenErrors),
    atMost('canaries broken', measured('canariesBroken'), limits.canariesBroken),
    atMost('canaries wrong', measured('canariesWrong'), limits.canariesWrong),
  ];
  return { passed: checks.every(({ passed }) => passed), checks };
}

function check(
  name: string,
  value: number | undefined,
  fits: (value: number) => boolean,
  limit: string,
): GateCheck {
  if (value === undefined) return { name, passed: false, detail: `not measured; ${limit}` };
  return { name, passed: fits(value), detail: `${value.toPrecision(3)}; ${limit}` };
}
