// One optimiser step, shared by all methods: the mix with ordinary text (ptx), clipping, AdamW, guards.
import { float32 } from '@rapport/core';
import type { Adapter, Random, Tensor } from '@rapport/core';
import { addScaled, clipNorm, globalNorm } from '../optim/adamw.ts';
import type { Parameters } from '../optim/adamw.ts';
import { rateAt } from '../optim/schedule.ts';
import { parametersOf } from './adapter.ts';
import type { Course } from './course.ts';
import { stopFor } from './guards.ts';
import type { Limits, Measured, Stop } from './guards.ts';
import type { PolicyTrainer } from './policy.ts';
import { batchesOf } from './rows.ts';
import type { TrunkRow } from './rows.ts';

export interface MixOptions {
  /** ‖γ·g_ptx‖ / ‖g‖ wanted at every step: γ follows. 0 leaves the mix out. */
  readonly ptxBalance: number;
  /** Rows of ordinary text per step. */
  readonly ptxRows: number;
}

/**
 * g + γ·g_CE(ordinary text), in place, γ chosen by the balance (InstructGPT's 27.8 belongs to its own gradients).
 * `idle`: feeds under which the trainer's own loss weighs nothing. Returns ‖g‖, ‖g_ptx‖, γ, what
 * came of the balance and the text's loss.
 */
export async function mixText(
  gradients: Parameters,
  { ptxBalance, ptxRows }: MixOptions,
  text: readonly TrunkRow[],
  {
    trainer,
    adapter,
    random,
    idle,
  }: {
    readonly trainer: PolicyTrainer;
    readonly adapter: Adapter;
    readonly random: Random;
    readonly idle: (rows: readonly TrunkRow[]) => Record<string, Tensor>;
  },
): Promise<{
  gradientNorm: number;
  ptxNorm: number;
  ptxCoef: number;
  ptxRatio: number;
  ptxLoss: number;
}> {
  const gradientNorm = globalNorm(gradients);
  if (ptxBalance === 0 || text.length === 0) {
    return { gradientNorm, ptxNorm: 0, ptxCoef: 0, ptxRatio: 0, ptxLoss: 0 };
  }
  const rows = Array.from({ length: ptxRows }, () => text[random.integer(text.length)]!);
  const tokens = rows.reduce((n, { reply }) => n + reply.length, 0);
  const ptx: Parameters = new Map();
  let ptxLoss = 0;
  for (const batch of batchesOf(rows, (row) => row, trainer.policy.budgetTokens)) {
    const count = batch.reduce((n, { reply }) => n + reply.length, 0);
    const weight = float32([count], new Float32Array(count).fill(1 / tokens));
    const out = await trainer.run(batch, adapter, { ...idle(batch), textWeight: weight }, ptx);
    ptxLoss += Number(out['loss']!.data[0]);
  }
  // Parameters beside the adapter (a value head) learn nothing from text.
  for (const name of ptx.keys()) if (!gradients.has(name)) ptx.delete(name);
  const ptxNorm = globalNorm(ptx);
  const ptxCoef = ptxNorm > 0 ? (ptxBalance * gradientNorm) / ptxNorm : 0;
  addScaled(gradients, ptx, ptxCoef);
  const ptxRatio = gradientNorm ? (ptxCoef * ptxNorm) / gradientNorm : 0;
  return { gradientNorm, ptxNorm, ptxCoef, ptxRatio, ptxLoss };
}

/** What a batch of given replies said of the policy before its update, summed over the replies. */
interface Seen {
  /** log π_ref − log π. */
  readonly drift: number;
  /** `tokensSpoken`. */
  readonly spoken: number;
  readonly tokens: number;
  readonly loss: number;
}

/**
 * Ends step number `step` of `of` of a method that learns from given replies: judges the policy by them and updates it, at a
 * rate that rises and falls linearly. After the last step it only judges.
 */
export function endStep(
  course: Course,
  gradients: Parameters,
  { step, of }: { readonly step: number; readonly of: number },
  { drift, spoken, tokens, loss }: Seen,
  config: Limits & { readonly lrPeak: number; readonly warmupSteps: number },
): { lr: number; kl: number; spoken: number; gradientNorm: number; stopped?: Stop } {
  const schedule = { kind: 'linear', warmup: config.warmupSteps, steps: of } as const;
  const lr = step < of ? config.lrPeak * rateAt(step, schedule) : 0;
  const measured = { kl: drift / tokens, length: spoken / tokens, worth: loss };
  const advanced = advance(course, gradients, lr, { measured, limits: config });
  return { lr, kl: measured.kl, spoken: measured.length, ...advanced };
}

/**
 * One step of a course's optimiser, clipped to norm 1; none where what was measured of its adapter, or the gradient,
 * stops the run. Returns the norm before.
 */
export function advance(
  course: Course,
  gradients: Parameters,
  lr: number,
  { measured, limits }: { readonly measured: Measured; readonly limits: Limits },
): { gradientNorm: number; stopped?: Stop } {
  const gradientNorm = clipNorm(gradients, 1);
  const stopped = course.judge(measured, limits) ?? stopFor(gradientNorm);
  if (stopped) return { gradientNorm, stopped };
  course.adam.step(parametersOf(course.adapter), gradients, lr);
  return { gradientNorm };
}
