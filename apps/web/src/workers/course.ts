// How long the courses of personal training are: plain numbers, which teaching follows and estimates read.

export const course = {
  dpo: { epochs: 1, promptsPerStep: 2, minSteps: 28, maxSteps: 64 },
  kto: { epochs: 1, minSteps: 28, maxSteps: 32, batch: 8, mismatched: 4 },
  /** A round of PPO that a page has the memory and the patience for. */
  ppo: {
    iterations: 3,
    promptsPerIteration: 4,
    repliesPerPrompt: 4,
    maxTokens: 128,
    minibatches: 2,
    ptxRows: 4,
  },
} as const;

/** Answers of ordinary text kept apart to measure what training costs. */
export const TEXT_MEASURED = 5;
