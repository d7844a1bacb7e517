import * as ort from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { merged, randomAdapter } from '../../../../tests/support/adapters.ts';
import { kernelModule } from '../../../../tests/support/kernels.ts';
import { tinyCheckpoint, tinyNames, type TinyName } from '../../../../tests/support/tiny.ts';
import { KeyValueCache } from '../generation/key-value-cache.ts';
import { float32, int64 } from '../graph/tensor.ts';
import { ortRuntime } from '../runtime/ort.ts';
import type { Runtime } from '../runtime/runtime.ts';
import { createSimdRuntime } from '../runtime/simd/simd-runtime.ts';
import type { Checkpoint } from '../weights/checkpoint.ts';
import { adapterFeeds, checkAdapter, joinAdapters, type Adapter } from './adapter.ts';
import { chatGraph } from './chat-graph.ts';
import { foldAdapter } from './fold-adapter.ts';
import { bytesSource } from '../weights/byte-source.ts';
import { writeSafetensors } from '../weights/safetensors.ts';
import { readPeft } from './peft.ts';
import { causalMask } from './model-graph.ts';
import { linearSites, type LinearSite } from './sites.ts';

const TOKENS = [3, 17, 40, 9, 22, 61, 5];

// Our kernels add the bias of an output projection and the residual in one step, so where there are both
// a graph without LoRA rounds in another order.
const outputBiases = ['llama-untied-biased', 'gpt2'];
const runtimes: [string, () => Promise<Runtime>, readonly TinyName[]][] = [
  ['ONNX Runtime', async () => ortRuntime(ort), tinyNames],
  [
    'our own kernels',
    async () => createSimdRuntime({ module: await kernelModule() }),
    tinyNames.filter((name) => !outputBiases.includes(name)),
  ],
];

/** Scores [V] after `TOKENS`, from a graph with LoRA inputs at `sites`. */
async function logits(
  runtime: Runtime,
  checkpoint: Checkpoint,
  sites: readonly LinearSite[],
  adapter: Adapter | null,
): Promise<Float32Array> {
  const { config } = checkpoint;
  const session = await runtime.load(chatGraph(config, sites), async (name) =>
    float32(checkpoint.tensors.get(name)!.shape, await checkpoint.read(name)),
  );
  const cache = new KeyValueCache(config);
  cache.add();
  const out = await session.run({
    ...adapterFeeds(sites, adapter),
    ...cache.feeds(),
    tokens: int64([1, TOKENS.length], TOKENS),
    positions: int64([1, TOKENS.length], [...TOKENS.keys()]),
    mask: causalMask(TOKENS.length, config.heads / config.kvHeads),
    last: int64([1, 1, 1], [TOKENS.length - 1]),
  });
  return out['logits']!.data as Float32Array;
}

const furthest = (a: Float32Array, b: Float32Array) =>
  a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);

describe.each(runtimes)('on %s', (_, start, names) => {
  test.each(names)('no adapter is the base of %s, bit for bit', async (name) => {
    const checkpoint = await tinyCheckpoint(name);
    const sites = linearSites(checkpoint.config, 0, checkpoint.config.layers);
    const runtime = await start();
    const base = await logits(runtime, checkpoint, [], null);
    const bare = await logits(runtime, checkpoint, sites, null);
    expect(new Uint8Array(bare.buffer, bare.byteOffset, bare.byteLength)).toEqual(
      new Uint8Array(base.buffer, base.byteOffset, base.byteLength),
    );
  });

  test('an adapter is what it adds to the weights, and two joined are both', async () => {
    const checkpoint = await tinyCheckpoint('llama-tied');
    const sites = linearSites(checkpoint.config, 0, 2);
    const first = randomAdapter(sites, { rank: 3, alpha: 6, seed: 1 });
    const upper = linearSites(checkpoint.config, 1, 2);
    const second = randomAdapter(upper, { rank: 2, alpha: 3, seed: 2 });
    const runtime = await start();
    const said = (adapter: Adapter | null) => logits(runtime, checkpoint, sites, adapter);
    const oracle = (adapters: Adapter[]) => logits(runtime, merged(checkpoint, adapters), [], null);
    const tolerance = 2e-4;
    expect(furthest(await said(first), await oracle([first]))).toBeLessThan(tolerance);
    expect(furthest(await said(second), await oracle([second]))).toBeLessThan(tolerance);
    const both = await said(joinAdapters(first, second));
    expect(furthest(both, await oracle([first, second]))).toBeLessThan(tolerance);
    expect(furthest(both, await said(first))).toBeGreaterThan(100 * tolerance);
    expect(furthest(both, await said(second))).toBeGreaterThan(100 * tolerance);
    const onTop = await logits(runtime, foldAdapter(checkpoint, first), sites, second);
    expect(furthest(both, onTop)).toBeLessThan(tolerance);
  });
});

test('an adapter for another model is refused by name', () => {
  const site = { path: 'model.layers.0.mlp.up_proj', inputs: 3, outputs: 2 };
  const target = { a: new Float32Array(6), b: new Float32Array(4) };
  const made = (path: string, rank: number): Adapter => ({
    rank,
    alpha: 1,
    targets: new Map([[path, target]]),
  });
  const unfit = expect.objectContaining({ code: 'adapter/unfit' });
  expect(() => checkAdapter([site], made(site.path, 2))).not.toThrow();
  expect(() => checkAdapter([site], made(site.path, 1))).toThrowError(unfit);
  expect(() => checkAdapter([site], made('model.layers.9.mlp.up_proj', 2))).toThrowError(unfit);
});

test('an adapter of vectors is refused by name', async () => {
  const path = 'base_model.model.model.layers.0.mlp.up_proj';
  const tensors = ['lora_A', 'lora_B'].map((side) => {
    return [`${path}.${side}.weight`, { shape: [2], data: new Float32Array(2) }] as const;
  });
  const file = bytesSource(writeSafetensors(new Map(tensors)));
  await expect(readPeft(file, { rank: 2, alpha: 1 })).rejects.toMatchObject({
    code: 'adapter/unreadable',
  });
});

test('joined with nothing, an adapter is itself', () => {
  const adapter: Adapter = { rank: 1, alpha: 2, targets: new Map() };
  expect(joinAdapters(adapter, null)).toBe(adapter);
  expect(joinAdapters(null, adapter)).toBe(adapter);
  expect(joinAdapters(null, null)).toBeNull();
});
