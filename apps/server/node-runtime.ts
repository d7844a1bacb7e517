// ONNX Runtime for Node over one file of fp32 weights, expanded once per checkpoint and mapped by
// every session and process that uses it. It knows graphs and tensors, not models.
import { createHash } from 'node:crypto';
import { mkdir, open, rename, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import * as ort from 'onnxruntime-node';
import { AS_THEY_ARE, ortSession, toOnnx, type Checkpoint, type Runtime } from '@rapport/core';
import { cacheFolder } from './model-source/cache.mjs';

const PAGE_BYTES = 4096;
const BYTES_PER_FLOAT = 4;

/** A runtime whose weights are those of `checkpoint`. `RAPPORT_THREADS` bounds its threads. */
export async function nodeRuntime(checkpoint: Checkpoint): Promise<Runtime> {
  const { folder, file, places } = await expanded(checkpoint);
  const threads = Number(process.env['RAPPORT_THREADS'] ?? availableParallelism());
  return {
    async load(graph, _weights, { manyRows } = {}) {
      const model = toOnnx(graph, ({ name }) => ({ location: file, ...places.get(name)! }));
      const session = await ort.InferenceSession.create(model, {
        logSeverityLevel: 3,
        // Shapes change at every run: an arena keeps all it ever needed, and is no faster.
        enableCpuMemArena: false,
        enableMemPattern: false,
        intraOpNumThreads: threads,
        graphOptimizationLevel: 'all',
        extra: {
          session: {
            model_external_initializers_file_folder_path: folder,
            ...(manyRows && AS_THEY_ARE),
          },
        },
      });
      return ortSession(ort, session);
    },
  };
}

type Places = Map<string, { offset: number; length: number }>;

/** The file of expanded weights, made if it is not there, and where each tensor lies in it. */
async function expanded(checkpoint: Checkpoint) {
  const { places, sizeBytes } = layout(checkpoint);
  const key = await keyOf(checkpoint);
  const folder = join(cacheFolder(), 'expanded');
  const file = `${key}.f32`;
  const path = join(folder, file);
  await mkdir(folder, { recursive: true });
  const found = await stat(path).catch(() => undefined);
  if (found?.size !== sizeBytes) await expand(checkpoint, places, path, sizeBytes);
  return { folder, file, places };
}

/** Two checkpoints of one shape must not share a file: without a digest, their numbers are hashed. */
async function keyOf(checkpoint: Checkpoint): Promise<string> {
  const { digest, tensors } = checkpoint;
  const hash = createHash('sha256').update(JSON.stringify([...tensors]));
  if (digest !== undefined) return hash.update(digest).digest('hex');
  for (const name of tensors.keys()) {
    const { buffer, byteOffset, byteLength } =
      (await checkpoint.readRaw?.(name))?.bytes ?? (await checkpoint.read(name));
    hash.update(new Uint8Array(buffer, byteOffset, byteLength));
  }
  return hash.digest('hex');
}

function layout(checkpoint: Checkpoint): { places: Places; sizeBytes: number } {
  const places: Places = new Map();
  let sizeBytes = 0;
  for (const name of [...checkpoint.tensors.keys()].sort()) {
    const { shape } = checkpoint.tensors.get(name)!;
    const length = shape.reduce((a, b) => a * b, BYTES_PER_FLOAT);
    places.set(name, { offset: sizeBytes, length });
    sizeBytes += Math.ceil(length / PAGE_BYTES) * PAGE_BYTES;
  }
  return { places, sizeBytes };
}

async function expand(checkpoint: Checkpoint, places: Places, path: string, sizeBytes: number) {
  const part = `${path}.${process.pid}`;
  const out = await open(part, 'w');
  for (const [name, { offset, length }] of places) {
    const { buffer, byteOffset } = await checkpoint.read(name);
    await out.write(new Uint8Array(buffer, byteOffset, length), 0, length, offset);
  }
  await out.truncate(sizeBytes);
  await out.close();
  await rename(part, path);
}
