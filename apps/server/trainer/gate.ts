// Whether a trained adapter may be published: limits on what its evaluation measured.
import type { Gate, GateCheck } from './spec.ts';

/** Limits; each with the measurement it bounds. `config.gate` changes them. */
const GATE_LIMITS = {
  /** Mean KL from the reference per token, in nats. */
  kl: 0.5,
  /** Change of the held-out negative log-likelihood, in percent. */
  nllChange: 10,
  /** Lower bound of the win rate against the release it started from. */
  winRateLow: 0.5,
  /** Share of sampled replies that end by themselves. */
  endedFraction: 0.3,
  /** Length of replies over that of the reference: at most so many times longer or shorter. */
  lengthRatio: 2,
};

/**
 * Checks an evaluation `{kl, nllChange, low, endedFraction, replyLength, baseReplyLength}`. What was
 * not measured does not pass.
 */
export function gateOf(
  evaluation: Record<string, unknown>,
  change: Partial<typeof GATE_LIMITS> = {},
): Gate {
  const limits = { ...GATE_LIMITS, ...change };
  const measured = (name: string) =>
    typeof evaluation[name] === 'number' ? evaluation[name] : undefined;
  const atMost = (name: string, value: number | undefined, limit: number) =>
    check(name, value, (x) => x <= limit, `at most ${limit}`);
  const atLeast = (name: string, value: number | undefined, limit: number) =>
    check(name, value, (x) => x >= limit, `at least ${limit}`);
  const [length, before] = [measured('replyLength'), measured('baseReplyLength')];
  const drift = length && before ? Math.max(length / before, before / length) : undefined;
  const checks = [
    atMost('KL', measured('kl'), limits.kl),
    atMost('held-out NLL, change in %', measured('nllChange'), limits.nllChange),
    atLeast('own arena, lower bound', measured('low'), limits.winRateLow),
    atLeast('replies that end', measured('endedFraction'), limits.endedFraction),
    atMost('length drift', drift, limits.lengthRatio),
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
