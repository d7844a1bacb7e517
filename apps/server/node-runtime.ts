// ONNX Runtime for Node over files of weights, one of them in fp32, expanded once per checkpoint and mapped by
// every session and process that uses them. It knows graphs and tensors, not models.
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, rename, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import * as ort from 'onnxruntime-node';
import {
  AS_THEY_ARE,
  ortSession,
  toOnnx,
  type Checkpoint,
  type ExternalData,
  type Runtime,
  type TensorData,
  type Value,
  type WeightSource,
} from '@rapport/core';
import { cacheFolder } from './model-source/cache.mjs';

const PAGE_BYTES = 4096;
const BYTES_PER_FLOAT = 4;

/**
 * A runtime whose fp32 weights are those of `checkpoint`; others are asked for, and depend on it and their names alone.
 * `RAPPORT_THREADS` bounds its threads.
 */
export async function nodeRuntime(checkpoint: Checkpoint): Promise<Runtime> {
  const key = await keyOf(checkpoint);
  const floats = await fileOf(`${key}.f32`, floatsOf(checkpoint));
  const threads = Number(process.env['RAPPORT_THREADS'] ?? availableParallelism());
  return {
    async load(graph, weights, { manyRows } = {}) {
      const others = graph.weights.filter(
        ({ name, dtype }) => dtype !== 'float32' || !floats.has(name),
      );
      const names = others.map(({ name, dtype, shape }) => `${name} ${dtype} ${shape.join()}`);
      const digest = createHash('sha256').update(JSON.stringify(names)).digest('hex');
      const more =
        others.length > 0
          ? await fileOf(`${key}-${digest.slice(0, 16)}`, storedOf(others, weights))
          : new Map<string, ExternalData>();
      const model = toOnnx(graph, ({ name }) => more.get(name) ?? floats.get(name)!);
      const session = await ort.InferenceSession.create(model, {
        logSeverityLevel: 3,
        // Shapes change at every run: an arena keeps all it ever needed, and is no faster.
        enableCpuMemArena: false,
        enableMemPattern: false,
        intraOpNumThreads: threads,
        graphOptimizationLevel: 'all',
        extra: {
          session: {
            model_external_initializers_file_folder_path: folder(),
            ...(manyRows && AS_THEY_ARE),
          },
        },
      });
      return ortSession(ort, session);
    },
  };
}

const folder = () => join(cacheFolder(), 'expanded');

/** A tensor of a file. */
interface Stored {
  readonly name: string;
  readonly sizeBytes: number;
  read(): Promise<TensorData>;
}

const floatsOf = (checkpoint: Checkpoint): Stored[] =>
  [...checkpoint.tensors.keys()].sort().map((name) => ({
    name,
    sizeBytes: checkpoint.tensors.get(name)!.shape.reduce((a, b) => a * b, BYTES_PER_FLOAT),
    read: () => checkpoint.read(name),
  }));

/** Integers of 8 bits, and floats. */
const storedOf = (values: readonly Value[], weights: WeightSource): Stored[] =>
  values.map(({ name, dtype, shape }) => ({
    name,
    sizeBytes: (shape as readonly number[]).reduce(
      (a, b) => a * b,
      dtype === 'float32' ? BYTES_PER_FLOAT : 1,
    ),
    read: async () => (await weights(name)).data,
  }));

/** The file of these tensors, made if it is not there, and where each lies in it. */
async function fileOf(
  location: string,
  tensors: readonly Stored[],
): Promise<Map<string, ExternalData>> {
  const places = new Map<string, ExternalData>();
  let sizeBytes = 0;
  for (const { name, sizeBytes: length } of tensors) {
    places.set(name, { location, offset: sizeBytes, length });
    sizeBytes += Math.ceil(length / PAGE_BYTES) * PAGE_BYTES;
  }
  const path = join(folder(), location);
  await mkdir(folder(), { recursive: true });
  const found = await stat(path).catch(() => undefined);
  if (found?.size === sizeBytes) return places;
  const part = `${path}.${randomUUID()}`;
  const out = await open(part, 'w');
  for (const { name, read } of tensors) {
    const { offset, length } = places.get(name)!;
    const { buffer, byteOffset } = await read();
    await out.write(new Uint8Array(buffer, byteOffset, length), 0, length, offset);
  }
  await out.truncate(sizeBytes);
  await out.close();
  await rename(part, path);
  return places;
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
