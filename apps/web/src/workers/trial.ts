// A trial of training on this device: the model's own training graph over made-up rows, larger ones while there is
// patience, so that speed and memory are measured before a person waits for them.
import { float32, Random, type Checkpoint, type Runtime } from '@rapport/core';
import { crossEntropy, dpoDefaults, newAdapter, Policy, type TrunkRow } from '@rapport/rlhf';
import { isOutOfMemory } from './out-of-memory.ts';
import { tokenMsOf, type Trial, type TrialRun } from './plan.ts';

/** Padded tokens of each run. The first prepares: engines compile and plan memory. */
const SIZES = [32, 32, 64, 128, 256, 512, 1024];
/** Of all runs after the first; none is begun that would take longer. */
const PATIENCE_MS = 4000;
/** Tokens of a row, where there are as many. */
const ROW = 128;

interface TrialPlace {
  checkpoint: Checkpoint;
  runtime: Runtime;
  /** Milliseconds of work done. */
  worked: () => number;
  /** WASM memory taken until now. */
  heapBytes: () => number;
}

/** Tries to train; too little memory ends the trial with what was measured before. Throws what else fails. */
export async function trialOf(
  { checkpoint, runtime, worked, heapBytes }: TrialPlace,
  signal: AbortSignal,
): Promise<Omit<Trial, 'backend'>> {
  const runs: TrialRun[] = [];
  let [weightBytes, loadMs] = [0, 0];
  const counting: Runtime = {
    load: (graph, weights, options) => {
      const counted = async (name: string) => {
        const tensor = await weights(name);
        weightBytes += tensor.data.byteLength;
        return tensor;
      };
      return runtime.load(graph, counted, options);
    },
  };
  try {
    const startedMs = worked();
    const step = await trainingStep(new Policy(checkpoint, counting));
    loadMs = worked() - startedMs;
    let spentMs = 0;
    for (const tokens of SIZES) {
      signal.throwIfAborted();
      if (runs.length > 1 && spentMs + tokens * tokenMsOf(runs) > PATIENCE_MS) break;
      const fromMs = worked();
      await step(tokens);
      const ms = worked() - fromMs;
      if (runs.length > 0) spentMs += ms;
      runs.push({ tokens, ms, heapBytes: heapBytes() });
    }
    return { loadMs, weightBytes, runs, full: false };
  } catch (error) {
    if (!isOutOfMemory(error as Error)) throw error;
    return { loadMs, weightBytes, runs, full: true };
  }
}

/** Opens the training graph and gives a function that runs it once, forward and backward, over so many tokens. */
async function trainingStep(policy: Policy): Promise<(tokens: number) => Promise<unknown>> {
  const trainer = await policy.trainer(dpoDefaults.rank, (p) => ({
    loss: crossEntropy(p.logprobs, p.input('textWeight', 'float32', ['N'])),
  }));
  const adapter = newAdapter(policy.sites, dpoDefaults, new Random(1));
  return (tokens) => {
    const rows = madeUp(tokens, policy.checkpoint.config);
    const count = rows.reduce((n, { reply }) => n + reply.length, 0);
    const textWeight = float32([count], new Float32Array(count).fill(1 / count));
    return trainer.run(rows, adapter, { textWeight }, new Map());
  };
}

/** Rows of `tokens` together, half of each a reply; no two share a prompt. */
function madeUp(tokens: number, { hidden, vocab }: Checkpoint['config']): TrunkRow[] {
  const width = Math.min(ROW, tokens);
  return Array.from({ length: tokens / width }, (_, row) => {
    const ids = Array.from({ length: width }, (_, t) => (row + t) % vocab);
    const trunk = new Float32Array(width * hidden).fill(0.1);
    return { prompt: ids.slice(0, width / 2), reply: ids.slice(width / 2), trunk };
  });
}
