// The model in training: one frozen base, a trunk that is computed once per row, and an upper part that
// any adapter can be fed to. Every method uses these four calls and holds no graph of its own.
import {
  adapterFeeds,
  blockScales,
  blocksIn,
  dropoutFeeds,
  float32,
  linearSites,
  toInt8,
} from '@rapport/core';
import type {
  Adapter,
  BaseFormat,
  Checkpoint,
  Dropout,
  Graph,
  LinearSite,
  Random,
  Runtime,
  Session,
  Tensor,
  Value,
} from '@rapport/core';
import { accumulate } from '../optim/adamw.ts';
import type { Parameters } from '../optim/adamw.ts';
import {
  adapterSites,
  gradientsIn,
  placeIn,
  policyGraph,
  statesGraph,
  trunkEnd,
  trunkGraph,
} from './policy-graph.ts';
import type { AdapterPlace, LossParts, PolicyOutputs } from './policy-graph.ts';
import { plainReading, readingFeeds } from './readings.ts';
import { batchesOf, Layout, lengthOf } from './rows.ts';
import type { Row, TrunkRow } from './rows.ts';

/** How the model sees the reply of one row. */
export interface RowStates {
  /** Of the reply. */
  readonly tokens: number;
  /**
   * Hidden states [(tokens + 1)·S], the final ones first among those of a token (`statesGraph`): at the positions before
   * each reply token, then at the last one.
   */
  readonly hidden: Float32Array;
}

/** What the model says of one row. */
export interface RowScore extends RowStates {
  /** log π of each reply token. */
  readonly logprobs: Float32Array;
}

/** Σ log π of the reply. */
export const logprobOf = ({ logprobs }: Pick<RowScore, 'logprobs'>): number =>
  logprobs.reduce((a, b) => a + b, 0);

export interface ScoreOptions {
  readonly temperature?: number;
  readonly signal?: AbortSignal | undefined;
}

export interface TrainerOptions {
  readonly dropout?: Dropout;
  /** The largest of the runs to come, which memory is planned for; by default one row as long as the budget. */
  readonly largest?: { readonly batch: number; readonly width: number };
}

export interface PolicyOptions {
  readonly place?: Partial<AdapterPlace> | undefined;
  /** Padded tokens of one run of a graph. */
  readonly budgetTokens?: number;
  /** How the frozen linears are held; `float32` by default. As `int8` they take a quarter of the memory. */
  readonly base?: BaseFormat;
  /** What layers may keep for the backward pass; the others compute it again. Unlimited by default. */
  readonly activationBytes?: number;
  /** The token that ends a reply; where it is known, methods that do not sample watch that replies are not cut short. */
  readonly endOfTurn?: number;
}

export class Policy {
  readonly checkpoint: Checkpoint;
  readonly place: AdapterPlace;
  readonly sites: readonly LinearSite[];
  /** Tokens of the rows pushed through the upper part with gradients. */
  tokensTrained = 0;
  /** Padded tokens that rows together have at most in one run of a graph. */
  readonly budgetTokens: number;
  readonly #runtime: Runtime;
  readonly #activationBytes: number;
  readonly #endOfTurn: number | undefined;
  readonly #groups: number;
  readonly #base: BaseFormat;
  readonly #trunkEnd: number;
  readonly #linears: ReadonlySet<string>;
  #trunk: Promise<Session> | undefined;
  #scorer: Promise<Session> | undefined;
  #reader: Promise<Session> | undefined;

  constructor(checkpoint: Checkpoint, runtime: Runtime, options: PolicyOptions = {}) {
    const { config } = checkpoint;
    this.checkpoint = checkpoint;
    this.place = placeIn(config, options.place);
    this.sites = adapterSites(config, this.place);
    this.budgetTokens = options.budgetTokens ?? 1024;
    this.#runtime = runtime;
    this.#activationBytes = options.activationBytes ?? Infinity;
    this.#endOfTurn = options.endOfTurn;
    this.#base = options.base ?? 'float32';
    this.#groups = config.heads / config.kvHeads;
    this.#trunkEnd = trunkEnd(config, this.place);
    this.#linears = new Set(linearSites(config, 0, config.layers).map(({ path }) => path));
  }

  /** Rows with their trunk output, in the order given; rows that have it already are not computed again. */
  async withTrunk<R extends Row>(
    rows: readonly R[],
    signal?: AbortSignal,
  ): Promise<(R & TrunkRow)[]> {
    const { config } = this.checkpoint;
    this.#trunk ??= this.#load(trunkGraph(config, this.#trunkEnd, this.#base));
    const session = await this.#trunk;
    const done = new Map<R, R & TrunkRow>();
    for (const row of rows) if (hasTrunk(row)) done.set(row, row);
    const missing = [...new Set(rows)].filter((row) => !done.has(row));
    for (const batch of batchesOf(missing, same, this.budgetTokens)) {
      signal?.throwIfAborted();
      const layout = new Layout(batch);
      const out = await session.run({ ...layout.tokens(), ...layout.feeds(this.#groups) });
      const trunks = layout.scatter(out['trunk']!.data as Float32Array, config.hidden);
      batch.forEach((row, b) => done.set(row, { ...row, trunk: trunks[b]! }));
    }
    return rows.map((row) => done.get(row)!);
  }

  /** Log-probabilities and hidden states of rows under an adapter (`null`: the base), in the order given. */
  score(
    rows: readonly TrunkRow[],
    adapter: Adapter | null,
    options: ScoreOptions = {},
  ): Promise<RowScore[]> {
    return this.scoresAs(rows, adapter, same, options);
  }

  /** What `read` makes of each row's score. States are large: they live no longer than their batch. */
  async scoresAs<T>(
    rows: readonly TrunkRow[],
    adapter: Adapter | null,
    read: (score: RowScore) => T,
    { temperature = 1, signal }: ScoreOptions = {},
  ): Promise<T[]> {
    const { config } = this.checkpoint;
    this.#scorer ??= this.#load(policyGraph(config, this.place, undefined, this.#base));
    const lora = adapterFeeds(this.sites, adapter);
    const feedsOf = (layout: Layout<TrunkRow>) => ({
      ...this.#layoutFeeds(layout, temperature),
      ...layout.replies(true),
      ...lora,
    });
    return this.#read(await this.#scorer, rows, { feedsOf, signal }, (out, from, to) =>
      read({
        logprobs: (out['logprobs']!.data as Float32Array).slice(from, to - 1),
        ...statesIn(out, from, to),
      }),
    );
  }

  /**
   * What `read` makes of each row's states under the base, in the order given: what a reward model reads, without the
   * head's work. States live no longer than their batch.
   */
  async statesAs<T>(
    rows: readonly TrunkRow[],
    read: (states: RowStates) => T,
    signal?: AbortSignal,
  ): Promise<T[]> {
    const { config } = this.checkpoint;
    this.#reader ??= this.#load(statesGraph(config, this.#trunkEnd, this.#base));
    const feedsOf = (layout: Layout<TrunkRow>) => ({
      ...this.#trunkFeeds(layout),
      select: layout.replies(true)['select']!,
    });
    return this.#read(await this.#reader, rows, { feedsOf, signal }, (out, from, to) =>
      read(statesIn(out, from, to)),
    );
  }

  /** Runs rows in batches; `take` reads what one row's positions `from` up to `to` gave. */
  async #read<T>(
    session: Session,
    rows: readonly TrunkRow[],
    given: {
      readonly feedsOf: (layout: Layout<TrunkRow>) => Record<string, Tensor>;
      readonly signal: AbortSignal | undefined;
    },
    take: (out: Record<string, Tensor>, from: number, to: number) => T,
  ): Promise<T[]> {
    const done = new Map<Row, T>();
    for (const batch of batchesOf([...new Set(rows)], same, this.budgetTokens)) {
      given.signal?.throwIfAborted();
      const out = await session.run(given.feedsOf(new Layout(batch)));
      let at = 0;
      for (const row of batch) done.set(row, take(out, at, (at += row.reply.length + 1)));
    }
    return rows.map((row) => done.get(row)!);
  }

  /** A trainer of adapters of one rank for one loss. Dispose it when the method is done. */
  async trainer(
    rank: number,
    lossOf: (policy: PolicyOutputs) => LossParts,
    { dropout = {}, largest }: TrainerOptions = {},
  ): Promise<PolicyTrainer> {
    const { batch: B, width: T } = largest ?? { batch: 1, width: this.budgetTokens };
    const sizes = { B, T, GT: this.#groups * T };
    const memory = { budgetBytes: this.#activationBytes, sizes };
    const training = {
      rank,
      lossOf,
      dropout,
      endOfTurn: this.#endOfTurn,
      ...(this.#activationBytes < Infinity && { memory }),
    };
    const graph = policyGraph(this.checkpoint.config, this.place, training, this.#base);
    const session = await this.#load(graph);
    return new PolicyTrainer(this, session, graph.inputs);
  }

  /** Feeds every run of the upper part needs. */
  #layoutFeeds(layout: Layout<TrunkRow>, temperature: number): Record<string, Tensor> {
    return {
      ...this.#trunkFeeds(layout),
      inverseTemperature: float32([], [1 / temperature]),
    };
  }

  #trunkFeeds(layout: Layout<TrunkRow>): Record<string, Tensor> {
    return {
      trunk: layout.gather(({ trunk }) => trunk, this.checkpoint.config.hidden),
      ...layout.feeds(this.#groups),
    };
  }

  /** Feeds of a training run, counted; `packed`: all rows one after another in a single sequence. */
  trainingFeeds(
    batch: readonly TrunkRow[],
    { temperature, packed }: { temperature: number; packed: boolean },
  ): Record<string, Tensor> {
    this.tokensTrained += batch.reduce((n, row) => n + lengthOf(row), 0);
    const layout = new Layout(batch, packed);
    return { ...this.#layoutFeeds(layout, temperature), ...layout.replies() };
  }

  /** What `logratios()` of a loss reads: sums over each row's reply, and the reference's. */
  logratioFeeds(batch: readonly TrunkRow[], refSums: readonly number[]): Record<string, Tensor> {
    const readings = batch.map((row, i) => plainReading(row, i, refSums[i]!));
    return readingFeeds(batch, readings);
  }

  async dispose(): Promise<void> {
    for (const session of [this.#trunk, this.#scorer, this.#reader])
      await (await session)?.dispose();
    this.#trunk = this.#scorer = this.#reader = undefined;
  }

  #load(graph: Graph): Promise<Session> {
    return this.#runtime.load(graph, (name) => this.#weight(name), { manyRows: true });
  }

  async #weight(name: string): Promise<Tensor> {
    const { tensors } = this.checkpoint;
    const path = name.replace(/\.(weight|scale)$/, '');
    const stored = `${path}.weight`;
    if (this.#base === 'float32' || !this.#linears.has(path)) {
      return float32(tensors.get(name)!.shape, await this.checkpoint.read(name));
    }
    const matrix = await this.checkpoint.read(stored);
    const { shape } = tensors.get(stored)!;
    const [rows, width] = shape as [number, number];
    const scales = blockScales(matrix, width);
    if (name !== stored) return float32([rows, blocksIn(width)], scales);
    return { dtype: 'int8', shape, data: toInt8(matrix, scales) };
  }
}

const hasTrunk = <R extends Row>(row: R): row is R & TrunkRow => 'trunk' in row;

const same = <T>(row: T): T => row;

/** States at selected positions `from` up to `to`: one more than the reply's tokens. */
function statesIn(out: Record<string, Tensor>, from: number, to: number): RowStates {
  const { data, shape } = out['hidden']!;
  const size = shape[1]!;
  return {
    tokens: to - from - 1,
    hidden: (data as Float32Array).slice(from * size, to * size),
  };
}

export interface RunOptions {
  readonly temperature?: number;
  readonly packed?: boolean;
  readonly random?: Random;
}

/** Runs a loss and its gradients; sums gradients over micro-batches. */
export class PolicyTrainer {
  readonly policy: Policy;
  readonly #session: Session;
  readonly #inputs: readonly Value[];

  /** `inputs`: those of the session's graph, which say what dropout it has. */
  constructor(policy: Policy, session: Session, inputs: readonly Value[]) {
    this.policy = policy;
    this.#session = session;
    this.#inputs = inputs;
  }

  /**
   * One micro-batch: adds the gradients to `into` (made on first use) and returns the other outputs.
   * Gradients are of the adapter's own A and B (not the scaled feed), and of `extra` parameters.
   *
   * `random` draws the masks of dropout, where the trainer has any. A `packed` batch is one sequence, for
   * losses over tokens only: `logratios()` sums by row.
   */
  async run(
    batch: readonly TrunkRow[],
    adapter: Adapter,
    feeds: Record<string, Tensor>,
    into: Parameters,
    { temperature = 1, packed = false, random }: RunOptions = {},
  ): Promise<Record<string, Tensor>> {
    const rows = this.policy.trainingFeeds(batch, { temperature, packed });
    const [B, T] = rows['positions']!.shape as [number, number];
    const out = await this.#session.run({
      ...rows,
      ...dropoutFeeds(this.#inputs, { B, T }, random),
      ...adapterFeeds(this.policy.sites, adapter),
      ...feeds,
    });
    const scale = adapter.alpha / adapter.rank;
    const gradients = gradientsIn(out);
    for (const [name, g] of gradients) {
      if (!name.endsWith('.b') || !name.startsWith('lora.')) continue;
      for (let i = 0; i < g.length; i++) g[i] = g[i]! * scale;
    }
    accumulate(into, gradients);
    return out;
  }

  dispose(): Promise<void> {
    return this.#session.dispose();
  }
}
