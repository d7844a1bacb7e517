// What training needs from the machine it runs on. Core's runtimes fit; nothing here knows ONNX Runtime.
import type { Graph, Tensor } from '@rapport/core';

export interface Session {
  run(feeds: Record<string, Tensor>): Promise<Record<string, Tensor>>;
  dispose(): Promise<void>;
}

/** Loads a graph and binds its weights, fp32, by Hugging Face name. */
export interface Runtime {
  load(graph: Graph, weights: (name: string) => Promise<Tensor> | Tensor): Promise<Session>;
}
