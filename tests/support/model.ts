// The real model for tests: the one people chat with, from the same cache and by the same code.
import { createMeter } from '../../apps/server/model-source/meter.mjs';
import { obtainModel, type ModelFiles } from '../../apps/server/model-source/obtain.mjs';

let found: Promise<ModelFiles> | undefined;

/** The default model, or the one `RAPPORT_MODEL` names; fetched once if it is not cached. */
export function modelFiles(): Promise<ModelFiles> {
  const spec = process.env['RAPPORT_MODEL'];
  found ??= obtainModel({ ...(spec ? { spec } : {}), report: createMeter() });
  return found;
}

/** Path of its GGUF file. */
export async function modelPath(): Promise<string> {
  return (await modelFiles()).path;
}
