import * as ort from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { createSimdRuntime, ortRuntime, type Runtime } from '@rapport/core';
import { hasRelaxedSimd, kernelModuleOf } from '../../../../tests/support/kernels.ts';
import { trialBlocks, tryEngine } from './engine-trial.ts';

const relaxed = await hasRelaxedSimd();

const ownKernels = async (kind: 'plain' | 'relaxed') =>
  createSimdRuntime({
    module: await kernelModuleOf(kind),
    readRaw: async (name) => trialBlocks(name),
  });

/** The same runtime; number `at` of the first product of `rows` tokens is off. */
function broken(runtime: Runtime, rows: number, at: number, by: number): Runtime {
  return {
    async load(graph, weights) {
      const session = await runtime.load(graph, weights);
      return {
        async run(feeds) {
          const made = await session.run(feeds);
          if (feeds['x']!.shape[0] === rows) (made['first']!.data as Float32Array)[at]! += by;
          return made;
        },
        dispose: () => session.dispose(),
      };
    },
  };
}

describe('an engine on trial', () => {
  test.each([
    ['our own kernels on plain SIMD', () => ownKernels('plain')],
    ['ONNX Runtime', async () => ortRuntime(ort)],
  ])('computes right: %s', async (_, start) => {
    const { wrong, fastestMs, medianMs } = await tryEngine('simd', await start());
    expect(wrong).toBe(false);
    expect(fastestMs).toBeGreaterThan(0);
    expect(medianMs).toBeGreaterThanOrEqual(fastestMs);
  });

  test.runIf(relaxed)('computes right: our own kernels on relaxed SIMD', async () => {
    const { wrong } = await tryEngine('simd', await ownKernels('relaxed'));
    expect(wrong).toBe(false);
  });

  test.each([
    [1, 700, 0.1],
    [1, 0, NaN],
    [4, 4 * 1536 - 1, 0.1],
    [4, 2 * 1536, -0.1],
  ])('is found out by one wrong number: of %i rows, number %i, by %s', async (rows, at, by) => {
    const { wrong } = await tryEngine('wasm', broken(ortRuntime(ort), rows, at, by));
    expect(wrong).toBe(true);
  });
});
