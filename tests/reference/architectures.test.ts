// Every architecture on tiny random checkpoints, against the numbers PyTorch gets
// (make_tiny_checkpoints.py).
import * as ort from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { buildTokenizer, ChatEngine, ortRuntime } from '@rapport/core';
import { tinyCheckpoint, tinyExpected, tinyNames, type TinyName } from '../support/tiny.ts';

const TOLERANCE = 1e-5;

describe.each(tinyNames)('%s', (name) => {
  it('gives the log-probs of PyTorch at every position', async () => {
    const engine = await engineOf(name);
    const { tokens, logits } = await tinyExpected(name);
    for (const [b, row] of tokens.entries()) {
      for (let t = 0; t < row.length; t++) {
        const found = await engine.next(row.slice(0, t + 1));
        expect(furthest(found, logSoftmax(logits[b]![t]!))).toBeLessThan(TOLERANCE);
      }
    }
  });
});

async function engineOf(name: TinyName): Promise<ChatEngine> {
  const checkpoint = await tinyCheckpoint(name);
  const tokenizer = await buildTokenizer(checkpoint.tokenizer);
  return ChatEngine.create({ checkpoint, tokenizer, runtime: ortRuntime(ort) });
}

function logSoftmax(logits: readonly number[]): number[] {
  const sum = logits.reduce((total, x) => total + Math.exp(x), 0);
  return logits.map((x) => x - Math.log(sum));
}

const furthest = (found: Float32Array, expected: readonly number[]): number =>
  Math.max(...expected.map((x, i) => Math.abs(x - found[i]!)));
