// One optimiser step, shared by all methods: the mix with ordinary text (ptx), clipping, AdamW, guards.
import { float32, RapportError } from '@rapport/core';
import type { Adapter, Random, Tensor } from '@rapport/core';
import { addScaled, clipNorm, globalNorm } from '../optim/adamw.ts';
import type { AdamW, Parameters } from '../optim/adamw.ts';
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
 * g + γ·g_CE(ordinary text), in place, γ chosen by the balance (rlhf.md: γ = 27.8 is not portable).
 * `idle`: feeds under which the trainer's own loss weighs nothing. Returns ‖g‖, ‖g_ptx‖, γ and the text's loss.
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
): Promise<{ gradientNorm: number; ptxNorm: number; ptxCoef: number; ptxLoss: number }> {
  const gradientNorm = globalNorm(gradients);
  if (ptxBalance === 0 || text.length === 0) {
    return { gradientNorm, ptxNorm: 0, ptxCoef: 0, ptxLoss: 0 };
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
  return { gradientNorm, ptxNorm, ptxCoef, ptxLoss };
}

/** Clips to norm 1 and updates in place. Throws before a number that is not finite can reach the parameters. */
export function update(
  adam: AdamW,
  parameters: Parameters,
  gradients: Parameters,
  lr: number,
): number {
  const norm = clipNorm(gradients, 1);
  if (!Number.isFinite(norm)) {
    throw new RapportError(
      'train/not-finite',
      'The gradient holds a number that is not finite.',
      'Train again with a lower learning rate.',
    );
  }
  adam.step(parameters, gradients, lr);
  return norm;
}
