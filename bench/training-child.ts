// Our training in Node, a step for each line: `training-child.ts THREADS`.
import { nodeRuntime } from '../apps/server/node-runtime.ts';
import { realCheckpoint } from '../tests/support/checkpoint.ts';
import { answerLines } from './child.ts';
import { trainingStep } from './training-step.ts';

process.env['RAPPORT_THREADS'] = process.argv[2] ?? '2';
const checkpoint = await realCheckpoint();
const step = await trainingStep(checkpoint, await nodeRuntime(checkpoint));
await answerLines(async () => ({
  ...(await step()),
  peakBytes: process.resourceUsage().maxRSS * 1024,
}));
