// The one graph that reads prompts and speaks replies: new tokens with their past in, scores of the last
// token and the new keys and values out.
import { Graph, op, type ModelConfig, type Value } from '@rapport/core';
import { LlamaGraph, linearSites, type LinearSite } from '../train/llama.ts';

/**
 * tokens [B, T], positions, masks, `last` [B, 1, 1] (which token's scores), past keys and values →
 * logits [B, V], new keys and values. Adapters are inputs on every linear.
 */
export function chatGraph(config: ModelConfig): { graph: Graph; sites: LinearSite[] } {
  const sites = linearSites(config, 0, config.layers);
  const graph = new Graph();
  const tokens = graph.input('tokens', 'int64', ['B', 'T']);
  const llama = new LlamaGraph(graph, config, new Set(sites.map(({ path }) => path)));
  const last = graph.input('last', 'int64', ['B', 1, 1]);
  const mask = graph.input('pastMask', 'float32', ['B', 1, 1, 'P']);
  const past = (side: string): Value[] =>
    Array.from({ length: config.layers }, (_, i) =>
      graph.input(`past.${side}.${i}`, 'float32', ['B', config.kvHeads, 'P', config.headDim]),
    );
  const [keys, values] = [past('k'), past('v')];
  const read = llama.layers(
    llama.embed(tokens),
    0,
    config.layers,
    { key: (i) => keys[i]!, value: (i) => values[i]!, mask },
    (i, key, value) => {
      graph.output(`new.k.${i}`, key);
      graph.output(`new.v.${i}`, value);
    },
  );
  const hidden = llama.finalNorm(op.squeeze(op.gatherND(read, last, 1), [1]));
  graph.output('logits', op.matmulTransposed(hidden, llama.head()));
  return { graph, sites };
}
