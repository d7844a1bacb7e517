// Learning rates over a run, as factors of the peak rate.

export interface Schedule {
  readonly kind: 'constant' | 'linear' | 'cosine';
  /** Steps over which the rate rises from 0. */
  readonly warmup: number;
  readonly steps: number;
}

/** Factor for step 0, 1, …: linear falls to 0, cosine to 10 % of the peak. */
export function rateAt(step: number, { kind, warmup, steps }: Schedule): number {
  if (step < warmup) return (step + 1) / warmup;
  const done = Math.min(1, (step - warmup) / Math.max(1, steps - warmup));
  if (kind === 'linear') return 1 - done;
  if (kind === 'cosine') return 0.1 + 0.45 * (1 + Math.cos(Math.PI * done));
  return 1;
}
