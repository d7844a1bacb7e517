import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Graph, float32, op, type Checkpoint } from '@rapport/core';
import { tinyCheckpoint } from '../../tests/support/tiny.ts';
import { nodeRuntime } from './node-runtime.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rapport-expanded-'));
  vi.stubEnv('RAPPORT_CACHE', folder);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

it('two checkpoints of one shape without digests never share their weights', async () => {
  const first = await tinyCheckpoint('llama-tied');
  const second: Checkpoint = {
    ...first,
    read: async (name) => (await first.read(name)).map((x) => x + 1),
  };
  const [a, b] = [await normOf(first), await normOf(second)];
  expect(b).toEqual(a.map((x) => Math.fround(x + 1)));
});

/** The final norm's weights as a session sees them. */
async function normOf(checkpoint: Checkpoint): Promise<number[]> {
  const runtime = await nodeRuntime(checkpoint);
  const graph = new Graph();
  const size = checkpoint.config.hidden;
  const x = graph.input('x', 'float32', [size]);
  graph.output('y', op.mul(x, graph.weight('model.norm.weight', 'float32', [size])));
  const session = await runtime.load(graph, () => Promise.reject(new Error('not asked for')));
  const { y } = await session.run({ x: float32([size], new Float32Array(size).fill(1)) });
  await session.dispose();
  return [...(y!.data as Float32Array)];
}
