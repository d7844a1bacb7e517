// The graphs of training. The trunk (layers below the adapter) is constant and is run once per row; the
// upper part turns its output into log-probabilities of reply tokens, a loss, and gradients.
import {
  buildModel,
  Graph,
  int64,
  linearSites,
  op,
  RapportError,
  tensorShapes,
} from '@rapport/core';
import type {
  Adapter,
  BaseFormat,
  DType,
  Dropout,
  ModelConfig,
  ModelGraph,
  Shape,
  Tensor,
  Value,
} from '@rapport/core';
import { gradients } from '../autodiff/gradients.ts';
import { withinBudget } from '../autodiff/recompute.ts';
import type { Sizes } from '../autodiff/recompute.ts';
import type { Parameters } from '../optim/adamw.ts';

/** Where adapters sit. */
export interface AdapterPlace {
  /** First adapted layer. */
  readonly fromLayer: number;
  /** Endings of module paths (`q_proj`); all seven linears by default. */
  readonly targets?: readonly string[];
}

/** The module paths an adapter at this place covers, in model order. */
export function adapterSites(config: ModelConfig, { fromLayer, targets }: AdapterPlace) {
  return linearSites(config, fromLayer, config.layers).filter(
    ({ path }) => !targets || targets.some((t) => path.endsWith(`.${t}`)),
  );
}

/** A place where nothing else is said: the upper half of the layers, all linears. */
export function placeIn(config: ModelConfig, place: Partial<AdapterPlace> = {}): AdapterPlace {
  const chosen = { fromLayer: halfOf(config), ...place };
  const within = linearSites(config, chosen.fromLayer, config.layers);
  if (within.length === 0) throw nowhere(`layer ${chosen.fromLayer}`, `below ${config.layers}`);
  const lost = chosen.targets?.find((t) => !within.some(({ path }) => path.endsWith(`.${t}`)));
  const names = new Set(within.map(({ path }) => path.split('.').at(-1)));
  if (lost !== undefined) throw nowhere(`linear ${lost}`, `of ${[...names].join(', ')}`);
  return chosen;
}

const nowhere = (what: string, choice: string) =>
  new RapportError(
    'train/bad-place',
    `The model has no ${what} that an adapter could sit on.`,
    `Choose one ${choice}.`,
  );

const halfOf = ({ layers }: ModelConfig): number => Math.floor(layers / 2);

/** Where all of these adapters are heard: as usual, or from the lowest layer that one of them changes. */
export function placeOf(
  config: ModelConfig,
  adapters: readonly (Adapter | null | undefined)[],
): AdapterPlace {
  const changed = new Set(adapters.flatMap((adapter) => [...(adapter?.targets.keys() ?? [])]));
  const all = Array.from({ length: config.layers }, (_, layer) => layer);
  const lowest = all.find((layer) =>
    linearSites(config, layer, layer + 1).some(({ path }) => changed.has(path)),
  );
  return { fromLayer: Math.min(lowest ?? Infinity, halfOf(config)) };
}

/** The first layer above the trunk: what is read of the base in the middle is never below it. */
export const trunkEnd = (config: ModelConfig, { fromLayer }: AdapterPlace): number =>
  Math.min(fromLayer, halfOf(config));

/** tokens [B, T] → trunk [B, T, D]: the input of layer `to`. */
export function trunkGraph(config: ModelConfig, to: number, base: BaseFormat = 'float32'): Graph {
  const graph = new Graph();
  const tokens = graph.input('tokens', 'int64', ['B', 'T']);
  const model = buildModel(graph, config, new Set(), { base });
  graph.output('trunk', model.layers(model.embed(tokens), 0, to));
  return graph;
}

/** trunk [B, T, D] → hidden [N, 3·D]: what is read of the base at `select` [N, 2], as `readAt` says. */
export function statesGraph(
  config: ModelConfig,
  from: number,
  base: BaseFormat = 'float32',
): Graph {
  const graph = new Graph();
  const trunk = graph.input('trunk', 'float32', ['B', 'T', config.hidden]);
  const model = buildModel(graph, config, new Set(), { base });
  const select = graph.input('select', 'int64', ['N', 2]);
  const depths = depthsOf(model, trunk, from);
  const final = model.finalNorm(op.gatherND(depths.at(-1)!, select));
  graph.output('hidden', readAt(select, final, depths, config.layers));
  return graph;
}

/** The trunk, and the output of every layer from `from` on. */
function depthsOf(model: ModelGraph, trunk: Value, from: number): Value[] {
  const depths = [trunk];
  for (let i = from; i < model.config.layers; i++) {
    depths.push(model.layers(depths.at(-1)!, i, i + 1));
  }
  return depths;
}

/**
 * [N, 3·D]: final states, then those after three quarters and after half of all layers, or those of the trunk where that
 * is longer. The last layers know the next token; what has been said is plainer in the middle (docs/log.md).
 */
function readAt(select: Value, final: Value, depths: readonly Value[], layers: number): Value {
  const middle = [0.75, 0.5].map((share) => {
    const above = Math.floor(layers * (1 - share));
    return op.gatherND(depths.at(-1 - above) ?? depths[0]!, select);
  });
  return op.concat([final, ...middle], 1);
}

/** What a loss can be written with: N is the number of selected reply tokens of the batch, B its rows. */
export interface PolicyOutputs {
  readonly graph: Graph;
  /** [N] log π(token | before) at temperature τ. */
  readonly logprobs: Value;
  /** [N, D] final hidden state at the position that predicts each token. */
  readonly hidden: Value;
  /** [R] ℓ = log π(reply) − log π_ref(reply) of each reading, one a row or as fed: `rows` [R, N], `refSums` [R]. */
  logratios(readings?: string): Value;
  input(name: string, dtype: 'float32' | 'int64', shape: readonly (string | number)[]): Value;
}

/** A loss and what else is to be trained with it: parameters beside the adapter, results to read. */
export interface LossParts {
  readonly loss: Value;
  /** Trained inputs beside the adapter's. */
  readonly parameters?: readonly Value[];
  readonly results?: Readonly<Record<string, Value>>;
}

/** What makes a graph one for training. */
export interface Training {
  readonly lossOf: (policy: PolicyOutputs) => LossParts;
  readonly dropout?: Dropout;
  /** With it there is `ends` [N]: log π of this token in place of each reply token. */
  readonly endOfTurn?: number | undefined;
  /** Layers whose results do not fit are computed again in the backward pass. */
  readonly memory?: { readonly budgetBytes: number; readonly sizes: Sizes };
}

/**
 * trunk [B, T, D] → logprobs [N] and hidden [N, 3·D] (`readAt`); with `training`, for hidden, `loss`, `grad.<input>` and
 * `ends`.
 *
 * Inputs: `trunk`, `positions` [B, T], `mask`, `select` [N, 2] (row, position that predicts), `targets` [N],
 * `inverseTemperature` scalar, the adapter, and what the loss asks for.
 */
export function policyGraph(
  config: ModelConfig,
  place: AdapterPlace,
  training?: Training & { readonly rank: number },
  base: BaseFormat = 'float32',
): Graph {
  const graph = new Graph();
  const trunk = graph.input('trunk', 'float32', ['B', 'T', config.hidden]);
  const adapted = new Set(adapterSites(config, place).map((site) => site.path));
  const model = buildModel(graph, config, adapted, { ...training, base });
  const from = trunkEnd(config, place);
  const scored = score(model, trunk, from);
  const { select, hidden, depths } = scored;
  // Layers between trunk and adapter have no backward pass.
  const learning = { ...scored, depths: depths.slice(place.fromLayer - from) };
  if (training) learn(learning, training, model.adapterInputs);
  else graph.output('hidden', readAt(select, hidden, depths, config.layers));
  return graph;
}

/**
 * tokens [B, T] → logprobs [N], `loss` and `grad.<weight>` of every weight of the model, for small ones: the weights
 * are inputs, under their names in the checkpoint. Other inputs are those of `policyGraph`.
 */
export function weightsGraph(config: ModelConfig, training: Training): Graph {
  const graph = new GraphOfFedWeights();
  const tokens = graph.input('tokens', 'int64', ['B', 'T']);
  const model = buildModel(graph, config, new Set(), training);
  const scored = score(model, model.embed(tokens), 0);
  const names = new Set(tensorShapes(config).keys());
  learn(
    scored,
    training,
    graph.inputs.filter(({ name }) => names.has(name)),
  );
  return graph;
}

/** A graph whose weights may change from run to run. */
class GraphOfFedWeights extends Graph {
  override weight(name: string, dtype: DType, shape: Shape): Value {
    return this.inputs.find((input) => input.name === name) ?? this.input(name, dtype, shape);
  }
}

/** Gradients among what a training graph gave, by the name of their input. */
export const gradientsIn = (out: Readonly<Record<string, Tensor>>): Parameters =>
  new Map(
    Object.entries(out).flatMap(([name, { data }]) =>
      name.startsWith(GRADIENT) ? [[name.slice(GRADIENT.length), data as Float32Array]] : [],
    ),
  );

const GRADIENT = 'grad.';

interface Scored {
  readonly graph: Graph;
  readonly select: Value;
  readonly logprobOf: (targets: Value) => Value;
  readonly logprobs: Value;
  readonly hidden: Value;
  /** The input of the first layer, and the output of every one. */
  readonly depths: readonly Value[];
}

/** Layers `from` on over `start`, and log π of the replies, an output. */
function score(model: ModelGraph, start: Value, from: number): Scored {
  const { graph } = model;
  const select = graph.input('select', 'int64', ['N', 2]);
  const targets = graph.input('targets', 'int64', ['N']);
  const inverseTemperature = graph.input('inverseTemperature', 'float32', []);
  const depths = depthsOf(model, start, from);
  const hidden = model.finalNorm(op.gatherND(depths.at(-1)!, select));
  const logprobOf = tokenLogprobs(op.mul(hidden, inverseTemperature), model.head());
  const logprobs = logprobOf(targets);
  graph.output('logprobs', logprobs);
  return { graph, select, logprobOf, logprobs, hidden, depths };
}

/** Adds the loss and its gradients for `trained` and for what the loss trains beside. */
function learn(
  { graph, logprobOf, logprobs, hidden, depths }: Scored,
  { lossOf, endOfTurn, memory }: Training,
  trained: readonly Value[],
): void {
  const layers = depths.slice(1).map((to, i) => ({ from: depths[i]!, to }));
  const recompute = memory ? withinBudget(graph, layers, memory) : [];
  const {
    loss,
    parameters = [],
    results = {},
  } = lossOf({
    graph,
    logprobs,
    hidden,
    logratios: (readings = 'B') => {
      const rows = graph.input('rows', 'float32', [readings, 'N']);
      const sums = op.squeeze(op.matmul(rows, op.unsqueeze(logprobs, [1])), [1]);
      return op.sub(sums, graph.input('refSums', 'float32', [readings]));
    },
    input: (name, dtype, shape) => graph.input(name, dtype, shape),
  });
  graph.output('loss', loss);
  if (endOfTurn !== undefined) {
    graph.output('ends', logprobOf(graph.constant(int64([1], [endOfTurn]))));
  }
  for (const [name, value] of Object.entries(results)) graph.output(name, value);
  const all = [...trained, ...parameters];
  gradients(loss, all, { recompute }).forEach((g, i) =>
    graph.output(`${GRADIENT}${all[i]!.name}`, g),
  );
}

/**
 * log softmax(h·Wᵀ) at the targets: h·W[target] − log Σ exp(h·Wᵀ). The one-hot never exists, and the
 * softmax over V only in the backward pass.
 *
 * `hidden` [N, D], `head` [V, D], `targets` int64 [N], or [1] for all → [N].
 */
function tokenLogprobs(hidden: Value, head: Value): (targets: Value) => Value {
  const whole = op.logSumExp(op.matmulTransposed(hidden, head), [1]);
  return (targets) => op.sub(op.reduceSum(op.mul(hidden, op.gather(head, targets)), [1]), whole);
}
