// Our training in Node, a piece of work for each line: `training-child.ts THREADS`.
import { nodeRuntime } from '../apps/server/node-runtime.ts';
import { realCheckpoint } from '../tests/support/checkpoint.ts';
import { answerLines } from './child.ts';
import { trainingWork } from './training-work.ts';

process.env['RAPPORT_THREADS'] = process.argv[2] ?? '2';
const checkpoint = await realCheckpoint();
const work = trainingWork(checkpoint, await nodeRuntime(checkpoint));
await answerLines(async (line) => ({
  ...(await work(line)),
  peakBytes: process.resourceUsage().maxRSS * 1024,
}));
