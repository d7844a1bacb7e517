import * as ort from 'onnxruntime-node';
import { expect, test } from 'vitest';
import { float32, int64, type Tensor } from '@rapport/core';
import { runGraph } from '../tests/support/run-graph.ts';
import { tinyCheckpoint, tinyExpected } from '../tests/support/tiny.ts';
import { exportedWeight, exportGraph } from './onnx-export.ts';

/** Runs the export as transformers.js does; `past` is what the last call gave. */
async function open() {
  const checkpoint = await tinyCheckpoint('llama-tied');
  const graph = exportGraph(checkpoint.config);
  const weights: Record<string, Tensor> = {};
  for (const weight of graph.weights) {
    const data = await exportedWeight(checkpoint, weight);
    weights[weight.name] = float32(weight.shape as number[], data);
  }
  const run = await runGraph(ort, graph, weights);
  const { layers, kvHeads, headDim } = checkpoint.config;
  return async (rows: number[][], keep: number, before?: Record<string, Tensor>) => {
    const [batch, width] = [rows.length, rows[0]!.length];
    const past = before?.['present.0.key']?.shape[2] ?? 0;
    const feeds: Record<string, Tensor> = {
      input_ids: int64([batch, width], rows.flat()),
      attention_mask: int64([batch, past + width], new Array(batch * (past + width)).fill(1)),
      position_ids: int64(
        [batch, width],
        rows.flatMap((row) => row.map((_, t) => past + t)),
      ),
      num_logits_to_keep: int64([], [keep]),
    };
    for (let i = 0; i < layers; i++) {
      for (const side of ['key', 'value']) {
        feeds[`past_key_values.${i}.${side}`] =
          before?.[`present.${i}.${side}`] ??
          float32([batch, kvHeads, 0, headDim], new Float32Array());
      }
    }
    return run(feeds);
  };
}

const largestGap = (found: Tensor, expected: readonly number[]) =>
  Math.max(...expected.map((x, i) => Math.abs(x - Number(found.data[i]))));

test('the export computes what PyTorch computes', async () => {
  const forward = await open();
  const { tokens, logits } = await tinyExpected('llama-tied');
  const out = await forward(tokens, 12);
  expect(out['logits']!.shape).toEqual([2, 12, 64]);
  expect(largestGap(out['logits']!, logits.flat(2))).toBeLessThan(1e-4);
});

test('read in two pieces with its past, it says the same of the last token', async () => {
  const forward = await open();
  const { tokens, logits } = await tinyExpected('llama-tied');
  const first = await forward(
    tokens.map((row) => row.slice(0, 7)),
    1,
  );
  const out = await forward(
    tokens.map((row) => row.slice(7)),
    1,
    first,
  );
  expect(out['logits']!.shape).toEqual([2, 1, 64]);
  expect(
    largestGap(
      out['logits']!,
      logits.flatMap((row) => row.at(-1)!),
    ),
  ).toBeLessThan(1e-4);
});
