// What graphs run on. ONNX Runtime and our own kernels are behind it; nothing else is asked of a platform.
import type { Graph } from '../graph/graph.ts';
import type { Tensor } from '../graph/tensor.ts';

/** A graph ready to run. */
export interface Session {
  run(feeds: Record<string, Tensor>): Promise<Record<string, Tensor>>;
  dispose(): Promise<void>;
}

/** Loads a graph and binds its weights, fp32, by Hugging Face name. */
export interface Runtime {
  load(graph: Graph, weights: (name: string) => Promise<Tensor> | Tensor): Promise<Session>;
}
