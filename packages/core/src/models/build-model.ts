// From a config to the architecture that computes it.
import type { Graph } from '../graph/graph.ts';
import type { ModelConfig } from '../weights/model-config.ts';
import { Gpt2Graph } from './gpt2.ts';
import { LlamaGraph } from './llama.ts';
import type { ModelGraph, TrainingShape } from './model-graph.ts';

/** The layers of a model in `graph`; see `ModelGraph` for `adapted` and `training`. */
export function buildModel(
  graph: Graph,
  config: ModelConfig,
  adapted: ReadonlySet<string>,
  training?: TrainingShape,
): ModelGraph {
  return config.architecture === 'gpt2'
    ? new Gpt2Graph(graph, config, adapted, training)
    : new LlamaGraph(graph, config, adapted, training);
}
