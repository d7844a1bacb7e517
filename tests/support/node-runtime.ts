// ONNX Runtime on Node over one file of expanded weights, mapped by every session.
import { createHash } from 'node:crypto';
import { mkdir, open, rename, stat } from 'node:fs/promises';
import { availableParallelism, homedir } from 'node:os';
import { join } from 'node:path';
import * as ort from 'onnxruntime-node';
import { toOnnx, type Checkpoint, type Tensor } from '@rapport/core';
import type { Runtime } from '../../packages/rlhf/src/platform.ts';

/** Threads: RAPPORT_THREADS, else all cores. */
export async function nodeRuntime(checkpoint: Checkpoint): Promise<Runtime> {
  const { folder, file, places } = await expanded(checkpoint);
  const threads = Number(process.env['RAPPORT_THREADS'] ?? availableParallelism());
  return {
    async load(graph) {
      const model = toOnnx(graph, (w) => ({ location: file, ...places.get(w.name)! }));
      const session = await ort.InferenceSession.create(model, {
        logSeverityLevel: 3,
        intraOpNumThreads: threads,
        graphOptimizationLevel: 'all',
        ...(process.env['ORT_PROFILE'] && {
          enableProfiling: true,
          profileFilePrefix: process.env['ORT_PROFILE'],
        }),
        extra: {
          session: {
            model_external_initializers_file_folder_path: folder,
            ...(process.env['RAPPORT_NO_PREPACK'] && { disable_prepacking: '1' }),
          },
        },
      });
      return {
        async run(feeds) {
          const inputs: Record<string, ort.Tensor> = {};
          for (const [name, t] of Object.entries(feeds)) {
            inputs[name] = new ort.Tensor(t.dtype as 'float32', t.data as Float32Array, t.shape);
          }
          const out: Record<string, Tensor> = {};
          for (const [name, t] of Object.entries(await session.run(inputs))) {
            out[name] = { dtype: t.type, shape: t.dims, data: t.data } as Tensor;
          }
          return out;
        },
        dispose: async () => {
          if (process.env['ORT_PROFILE']) session.endProfiling();
          await session.release();
        },
      };
    },
  };
}

async function expanded(checkpoint: Checkpoint) {
  const names = [...checkpoint.tensors.keys()].sort();
  const key = createHash('sha256')
    .update(checkpoint.digest ?? '')
    .update(JSON.stringify([...checkpoint.tensors]))
    .digest('hex');
  const folder = join(
    process.env['RAPPORT_CACHE'] ?? join(homedir(), '.cache/rapport'),
    'expanded',
  );
  const file = `${key}.f32`;
  const places = new Map<string, { offset: number; length: number }>();
  let size = 0;
  for (const name of names) {
    const length = checkpoint.tensors.get(name)!.shape.reduce((a, b) => a * b, 4);
    places.set(name, { offset: size, length });
    size += Math.ceil(length / 4096) * 4096;
  }
  await mkdir(folder, { recursive: true });
  const path = join(folder, file);
  if ((await stat(path).catch(() => undefined))?.size !== size) {
    const part = `${path}.${process.pid}`;
    const out = await open(part, 'w');
    for (const name of names) {
      const data = await checkpoint.read(name);
      await out.write(
        new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
        0,
        data.byteLength,
        places.get(name)!.offset,
      );
    }
    await out.truncate(size);
    await out.close();
    await rename(part, path);
  }
  return { folder, file, places };
}
