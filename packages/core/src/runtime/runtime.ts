// What graphs run on. ONNX Runtime and our own kernels are behind it; nothing else is asked of a platform.
import type { Graph } from '../graph/graph.ts';
import type { Floats, Tensor } from '../graph/tensor.ts';

export interface RunOptions {
  /** As precisely as the runtime can, also where that is slower. */
  readonly exact?: boolean;
  /** The caller reads the outputs before this session runs again: they may be views of memory that it then overwrites, not copies. */
  readonly lend?: boolean;
}

export interface LoadOptions {
  /**
   * The graph multiplies many rows at once in every run: weights need no second, rearranged copy, which only pays for few
   * rows. Training and scoring say so.
   */
  readonly manyRows?: boolean;
}

/** Where a graph's weights come from, by Hugging Face name. */
export type WeightSource = (name: string) => Promise<Tensor> | Tensor;

/** A graph ready to run. */
export interface Session {
  run(feeds: Record<string, Tensor>, options?: RunOptions): Promise<Record<string, Tensor>>;
  dispose(): Promise<void>;
}

/** Where a runtime reads keys and values without copying them. */
export interface TensorMemory {
  /** As what they are kept: new ones come from the graph as the same when it is fed such. */
  readonly dtype: Floats['dtype'];
  /** Zeros of this shape. */
  allocate(shape: readonly number[]): Floats;
  /** Gives back what `allocate` gave. */
  free(tensor: Floats): void;
  /** To be told that numbers `from`..`to` of what `allocate` gave were written, where the runtime reads a copy. */
  wrote?(tensor: Floats, from: number, to: number): void;
}

/** Loads a graph and binds its weights by Hugging Face name, fp32 but where the graph says otherwise. */
export interface Runtime {
  /** Memory of the runtime's own, where it has some: what is used again and again belongs there. */
  readonly memory?: TensorMemory;
  load(graph: Graph, weights: WeightSource, options?: LoadOptions): Promise<Session>;
  /** Ends the threads that it has of its own, if any. */
  dispose?(): Promise<void>;
}
