import * as ort from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { runGraph } from '../../../../tests/support/run-graph.ts';
import { Graph } from '../graph/graph.ts';
import { float32 } from '../graph/tensor.ts';
import { Random } from '../random.ts';
import { dropped, dropoutFeeds } from './dropout.ts';

const SHARE = 0.2;
const [B, T, D] = [2, 5, 8];

/** Which of B·T·D ones are dropped, for `draws` seeds. */
async function masks(draws: number): Promise<boolean[][]> {
  const graph = new Graph();
  const x = graph.input('x', 'float32', ['B', 'T', D]);
  graph.output('y', dropped(x, SHARE, 'here'));
  const run = await runGraph(ort, graph);
  const ones = float32([B, T, D], new Float32Array(B * T * D).fill(1));
  const random = new Random(5);
  const found: boolean[][] = [];
  for (let i = 0; i < draws; i++) {
    const { y } = await run({ x: ones, ...dropoutFeeds(graph.inputs, { B, T }, random) });
    const kept = Array.from(y!.data as Float32Array);
    for (const value of kept) expect([0, Math.fround(1 / (1 - SHARE))]).toContain(value);
    found.push(kept.map((value) => value === 0));
  }
  return found;
}

const mean = (x: readonly boolean[]) => x.filter(Boolean).length / x.length;

describe('dropout', () => {
  it('drops every element with its probability, and any two independently', async () => {
    const draws = await masks(4000);
    const at = (b: number, t: number, i: number) => (b * T + t) * D + i;
    const deviation = Math.sqrt((SHARE * (1 - SHARE)) / draws.length);
    for (let k = 0; k < B * T * D; k++) {
      expect(Math.abs(mean(draws.map((d) => d[k]!)) - SHARE)).toBeLessThan(5 * deviation);
    }
    const pairs = [
      [at(0, 0, 0), at(0, 0, 1)],
      [at(0, 0, 0), at(0, 1, 0)],
      [at(0, 0, 0), at(1, 0, 0)],
      [at(0, 2, 3), at(1, 4, 6)],
    ] as const;
    const both = SHARE ** 2;
    for (const [a, b] of pairs) {
      const share = mean(draws.map((d) => d[a]! && d[b]!));
      expect(Math.abs(share - both)).toBeLessThan(5 * Math.sqrt(both / draws.length));
    }
  });

  it('repeats from its seed', () => {
    const graph = new Graph();
    dropped(graph.input('x', 'float32', ['B', 'T', D]), SHARE, 'here');
    const feeds = (seed: number) => dropoutFeeds(graph.inputs, { B, T }, new Random(seed));
    expect(feeds(1)).toEqual(feeds(1));
    expect(feeds(2)).not.toEqual(feeds(1));
  });
});
