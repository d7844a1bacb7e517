// The one graph that reads prompts and speaks replies: new tokens with their past in, what comes after some
// of them and the new keys and values out.
import * as op from '../graph/build.ts';
import { Graph, type Value } from '../graph/graph.ts';
import type { Dim } from '../graph/shape.ts';
import type { ModelConfig } from '../weights/model-config.ts';
import { buildModel } from './build-model.ts';
import type { Past } from './model-graph.ts';
import type { LinearSite } from './sites.ts';

/**
 * tokens [B, T], `positions`, `mask`, `last` [B, S, 1] (which S tokens are spoken after), `past.k.<layer>` and
 * `past.v.<layer>` [B, kvHeads, P, headDim] with `pastMask` [B, 1, 1, P] → `logits` [B, S, V], `new.k.<layer>`
 * and `new.v.<layer>` [B, kvHeads, T, headDim]. Adapters are inputs at `sites`.
 *
 * With `shared`, all rows go on from one beginning: `shared.k.<layer>`, `shared.v.<layer>`
 * [1, kvHeads, C, headDim] and `sharedMask` [1, 1, 1, C] come before the past of each.
 *
 * With `probabilities`, that output [B, S, V] takes the place of `logits`: softmax(logits · `inverseTemperature`).
 */
export function chatGraph(
  config: ModelConfig,
  sites: readonly LinearSite[],
  { probabilities = false, shared = false }: { probabilities?: boolean; shared?: boolean } = {},
): Graph {
  const graph = new Graph();
  const tokens = graph.input('tokens', 'int64', ['B', 'T']);
  const model = buildModel(graph, config, new Set(sites.map(({ path }) => path)));
  const last = graph.input('last', 'int64', ['B', 'S', 1]);
  const { layers, kvHeads, headDim } = config;
  const segment = (name: string, rows: Dim, width: Dim): Past => {
    const mask = graph.input(`${name}Mask`, 'float32', [rows, 1, 1, width]);
    const [keys, values] = ['k', 'v'].map((side) =>
      Array.from({ length: layers }, (_, i) =>
        graph.input(`${name}.${side}.${i}`, 'float32', [rows, kvHeads, width, headDim]),
      ),
    ) as [Value[], Value[]];
    return { key: (i) => keys[i]!, value: (i) => values[i]!, mask };
  };
  const past = [...(shared ? [segment('shared', 1, 'C')] : []), segment('past', 'B', 'P')];
  const read = model.layers(model.embed(tokens), 0, layers, past, (i, key, value) => {
    graph.output(`new.k.${i}`, key);
    graph.output(`new.v.${i}`, value);
  });
  const hidden = model.finalNorm(op.gatherND(read, last, 1));
  if (probabilities) {
    const cooled = op.mul(hidden, graph.input('inverseTemperature', 'float32', []));
    graph.output('probabilities', op.softmax(op.matmulTransposed(cooled, model.head())));
  } else {
    graph.output('logits', op.matmulTransposed(hidden, model.head()));
  }
  return graph;
}
