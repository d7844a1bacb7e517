// Runs a small graph with ONNX Runtime on Node, for tests of operators and losses. Weights are given as data.
import type * as Ort from 'onnxruntime-node';
import { toOnnx, type Graph, type Tensor, type TensorData } from '@rapport/core';

type Run = (feeds: Record<string, Tensor>) => Promise<Record<string, Tensor>>;

/** Loads a graph; the returned function runs it once per call. */
export async function runGraph(
  ort: typeof Ort,
  graph: Graph,
  weights: Readonly<Record<string, Tensor>> = {},
): Promise<Run> {
  const parts = graph.weights.map((w) => bytesOf(weights[w.name]!.data));
  const offsets = new Map<string, number>();
  let length = 0;
  graph.weights.forEach((w, i) => {
    offsets.set(w.name, length);
    length += parts[i]!.length;
  });
  const data = new Uint8Array(length);
  graph.weights.forEach((w, i) => data.set(parts[i]!, offsets.get(w.name)));
  const model = toOnnx(graph, (w) => ({
    location: 'weights',
    offset: offsets.get(w.name)!,
    length: bytesOf(weights[w.name]!.data).length,
  }));
  const session = await ort.InferenceSession.create(model, {
    logSeverityLevel: 3,
    ...(length > 0 && { externalData: [{ path: 'weights', data }] }),
  });
  return async (feeds) => {
    const inputs = Object.fromEntries(
      Object.entries(feeds).map(([name, t]) => [
        name,
        new ort.Tensor(t.dtype as 'float32', t.data as Float32Array, t.shape),
      ]),
    );
    const outputs = await session.run(inputs);
    return Object.fromEntries(
      Object.entries(outputs).map(([name, t]) => [
        name,
        { dtype: t.type, shape: t.dims, data: t.data } as Tensor,
      ]),
    );
  };
}

const bytesOf = (data: TensorData): Uint8Array =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
