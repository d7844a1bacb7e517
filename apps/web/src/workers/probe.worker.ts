// Tries the engines one after the other and posts what each took. A worker of its own: when it is
// ended, all that the slower engines took is given back.
import { float32, Graph, op, type RawTensor } from '@rapport/core';
import { hasGraphics, startBackend } from './backend.ts';
import type { Engine } from './inference.ts';
import { allowOwnScripts } from './trusted-scripts.ts';
import type { Trial } from './verdict.ts';

const ROUNDS = 8;
/** Shapes of a small model's feed-forward layers. */
const [HIDDEN, FFN, LAYERS] = [576, 1536, 4];

/** Our own kernels come first: they start soonest and need least. Then graphics are asked for, which may take long. */
async function* candidates(): AsyncGenerator<Engine> {
  yield 'simd';
  const graphics = hasGraphics();
  yield 'wasm';
  if (await graphics) yield 'webgpu';
}

async function trial(engine: Engine): Promise<Trial> {
  const { runtime } = await startBackend(engine, { readRaw: async () => blocks });
  const session = await runtime.load(products(), (name) => {
    const shape = name.startsWith('up') ? [FFN, HIDDEN] : [HIDDEN, FFN];
    return float32(shape, new Float32Array(HIDDEN * FFN).fill(0.01));
  });
  const x = float32([1, HIDDEN], new Float32Array(HIDDEN).fill(0.5));
  const roundsMs: number[] = [];
  // The first round prepares.
  for (let round = 0; round <= ROUNDS; round++) {
    const fromMs = performance.now();
    await session.run({ x });
    if (round > 0) roundsMs.push(performance.now() - fromMs);
  }
  // Its helper threads would stand in the way of the next.
  await runtime.dispose?.();
  roundsMs.sort((a, b) => a - b);
  return { engine, fastestMs: roundsMs[0]!, medianMs: roundsMs[roundsMs.length >> 1]! };
}

/** The feed-forward products of a few layers, one token. */
function products(): Graph {
  const graph = new Graph();
  let x = graph.input('x', 'float32', [1, HIDDEN]);
  for (let i = 0; i < LAYERS; i++) {
    const up = op.matmulTransposed(x, graph.weight(`up${i}`, 'float32', [FFN, HIDDEN]));
    x = op.matmulTransposed(op.tanh(up), graph.weight(`down${i}`, 'float32', [HIDDEN, FFN]));
  }
  graph.output('y', x);
  return graph;
}

/** A matrix in 4-bit blocks of 32, each a step of 2⁻⁸ and a minimum of −2⁻⁵ as fp16, then the nibbles. */
const blocks: RawTensor = { format: 'Q4_1', bytes: blockBytes(), shape: [FFN, HIDDEN] };

function blockBytes(): Uint8Array {
  const bytes = new Uint8Array(((HIDDEN * FFN) / 32) * 20).fill(0x5a);
  for (let at = 0; at < bytes.length; at += 20) bytes.set([0x00, 0x1c, 0x00, 0xa8], at);
  return bytes;
}

async function tryAll(): Promise<void> {
  for await (const engine of candidates()) {
    const found = await trial(engine).catch(() => undefined);
    if (found) postMessage(found);
  }
  postMessage('done');
}

allowOwnScripts();
void tryAll();
