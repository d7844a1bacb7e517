// The workloads of training by name, and how large they are: the same for our autodiff and for PyTorch.

export const ROWS = 4;
export const ROW_TOKENS = 128;

/** Of DPO: rows of a prompt and a reply, as long as those of a step. */
export const PROMPT_TOKENS = 48;
export const REPLY_TOKENS = 80;

/** How much is done. */
export interface TrainingSizes {
  readonly rounds: number;
  readonly pairs: number;
  readonly epochs: number;
  /** Of rollouts. */
  readonly tokens: number;
  /** Of the sides of a square matrix. */
  readonly side: number;
}

export const TRAINING_FULL: TrainingSizes = {
  rounds: 8,
  pairs: 60,
  epochs: 3,
  tokens: 64,
  side: 1024,
};
export const TRAINING_QUICK: TrainingSizes = {
  rounds: 2,
  pairs: 2,
  epochs: 1,
  tokens: 4,
  side: 256,
};

/** Workloads and metrics. */
export const TRAINED = {
  step: `LoRA r = 8 on all linears, ${ROWS} × ${ROW_TOKENS} tokens`,
  dpo: ({ pairs, epochs }: Pick<TrainingSizes, 'pairs' | 'epochs'> = TRAINING_FULL) =>
    `DPO of ${pairs} pairs, ${epochs} epochs, LoRA r = 8 on the upper half`,
  speed: ['speed', 'tokens/s'],
  products: ['matrix products', 'GFLOP/s'],
  time: ['time', 's'],
  peak: ['peak memory', 'MB'],
} as const;
