// The one graph that reads prompts and speaks replies: new tokens with their past in, what comes after some
// of them and the new keys and values out.
import * as op from '../graph/build.ts';
import { Graph, type Value } from '../graph/graph.ts';
import type { ModelConfig } from '../weights/model-config.ts';
import { buildModel } from './build-model.ts';
import type { LinearSite } from './sites.ts';

/**
 * tokens [B, T], `positions`, `mask`, `last` [B, S, 1] (which S tokens are spoken after), `past.k.<layer>` and
 * `past.v.<layer>` [B, kvHeads, P, headDim] with `pastMask` [B, 1, 1, P] → `logits` [B, S, V], `new.k.<layer>`
 * and `new.v.<layer>` [B, kvHeads, T, headDim]. Adapters are inputs at `sites`.
 *
 * With `probabilities`, that output [B, S, V] takes the place of `logits`: softmax(logits · `inverseTemperature`).
 */
export function chatGraph(
  config: ModelConfig,
  sites: readonly LinearSite[],
  { probabilities = false }: { probabilities?: boolean } = {},
): Graph {
  const graph = new Graph();
  const tokens = graph.input('tokens', 'int64', ['B', 'T']);
  const model = buildModel(graph, config, new Set(sites.map(({ path }) => path)));
  const last = graph.input('last', 'int64', ['B', 'S', 1]);
  const mask = graph.input('pastMask', 'float32', ['B', 1, 1, 'P']);
  const past = (side: string): Value[] =>
    Array.from({ length: config.layers }, (_, i) =>
      graph.input(`past.${side}.${i}`, 'float32', ['B', config.kvHeads, 'P', config.headDim]),
    );
  const [keys, values] = [past('k'), past('v')];
  const read = model.layers(
    model.embed(tokens),
    0,
    config.layers,
    { key: (i) => keys[i]!, value: (i) => values[i]!, mask },
    (i, key, value) => {
      graph.output(`new.k.${i}`, key);
      graph.output(`new.v.${i}`, value);
    },
  );
  const hidden = model.finalNorm(op.gatherND(read, last, 1));
  if (probabilities) {
    const cooled = op.mul(hidden, graph.input('inverseTemperature', 'float32', []));
    graph.output('probabilities', op.softmax(op.matmulTransposed(cooled, model.head())));
  } else {
    graph.output('logits', op.matmulTransposed(hidden, model.head()));
  }
  return graph;
}
