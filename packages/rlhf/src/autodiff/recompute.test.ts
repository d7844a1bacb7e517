// Recomputation changes when things are computed and what is kept, never the gradients.
import * as ort from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { float32, Graph, op } from '@rapport/core';
import type { Value } from '@rapport/core';
import { runGraph } from '../../../../tests/support/run-graph.ts';
import { gradients } from './gradients.ts';
import { withinBudget } from './recompute.ts';
import type { Stretch } from './recompute.ts';

const [ROWS, WIDTH, LAYERS] = [3, 4, 4];

/** Layers x + tanh(x·W)·σ(x), their weights fed, and Σ of the square of what comes out. */
function network() {
  const graph = new Graph();
  const start = graph.input('x', 'float32', ['B', WIDTH]);
  const weights: Value[] = [];
  const layers: Stretch[] = [];
  let x = start;
  for (let i = 0; i < LAYERS; i++) {
    const w = graph.input(`w${i}`, 'float32', [WIDTH, WIDTH]);
    const to = op.add(x, op.mul(op.tanh(op.matmul(x, w)), op.sigmoid(x)));
    weights.push(w);
    layers.push({ from: x, to });
    x = to;
  }
  const loss = op.reduceSum(op.mul(x, x), [0, 1]);
  return { graph, layers, loss, wrt: [start, ...weights] };
}

const numbers = (shape: number[], seed: number) =>
  float32(
    shape,
    Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(7 * i + seed)),
  );
const feeds = Object.fromEntries([
  ['x', numbers([ROWS, WIDTH], 1)],
  ...Array.from({ length: LAYERS }, (_, i) => [`w${i}`, numbers([WIDTH, WIDTH], i + 2)] as const),
]);

/** Gradients, and the most bytes alive at once if nodes run in the order they were made. */
async function run(pick: (layers: readonly Stretch[]) => readonly Stretch[]) {
  const { graph, layers, loss, wrt } = network();
  gradients(loss, wrt, { recompute: pick(layers) }).forEach((g, i) => graph.output(`g${i}`, g));
  const out = await (await runGraph(ort, graph))(feeds);
  return { gradients: wrt.map((_, i) => [...(out[`g${i}`]!.data as Float32Array)]), graph };
}

function mostAlive(graph: Graph): number {
  const last = new Map<Value, number>();
  graph.nodes.forEach((node, at) => node.inputs.forEach((x) => last.set(x, at)));
  for (const y of graph.outputs.values()) last.set(y, Infinity);
  const alive = new Set<Value>();
  let most = 0;
  graph.nodes.forEach((node, at) => {
    for (const y of node.outputs) if (last.has(y)) alive.add(y);
    most = Math.max(most, [...alive].filter(({ shape }) => shape.length === 2).length);
    for (const x of alive) if (last.get(x)! <= at) alive.delete(x);
  });
  return most;
}

describe('recomputation', () => {
  it.each([
    ['every layer', (layers: readonly Stretch[]) => layers],
    ['the first two', (layers: readonly Stretch[]) => layers.slice(0, 2)],
    ['the last', (layers: readonly Stretch[]) => layers.slice(-1)],
    ['two layers as one', (l: readonly Stretch[]) => [{ from: l[1]!.from, to: l[2]!.to }]],
  ])('of %s gives the same gradients bit for bit', async (_, pick) => {
    const plain = await run(() => []);
    const again = await run(pick);
    expect(again.gradients).toEqual(plain.gradients);
    expect(again.graph.nodes.length).toBeGreaterThan(plain.graph.nodes.length);
  });

  it('of every layer keeps less alive', async () => {
    const plain = await run(() => []);
    const again = await run((layers) => layers);
    expect(mostAlive(again.graph)).toBeLessThan(mostAlive(plain.graph) - LAYERS);
  });
});

describe('the budget', () => {
  const { graph, layers } = network();
  const sizes = { B: ROWS };
  // Five results of a layer, each [B, WIDTH].
  const one = 4 * ROWS * WIDTH;
  const chosen = (budgetBytes: number) =>
    withinBudget(graph, layers, { budgetBytes, sizes }).length;

  it.each([
    [LAYERS * 5 * one, 0],
    // All, and one layer made again, less what layers that are made again need not keep.
    [LAYERS * 5 * one - 1, 2],
    [(LAYERS + 1) * 5 * one - 3 * 4 * one, 3],
    [0, LAYERS],
  ])('of %d bytes has %d layers made again', (budget, count) => {
    expect(chosen(budget)).toBe(count);
  });
});
