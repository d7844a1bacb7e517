// Every operator's rule against central differences, for any runtime. The cases are typed by the same table as
// the rules, so no operator escapes.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { float32, Graph, int64, op, sizeOf } from '@rapport/core';
import type { Runtime, Session, Shape, Value } from '@rapport/core';
import { gradients } from '../../packages/rlhf/src/autodiff/gradients.ts';
import type { DifferentiableOp } from '../../packages/rlhf/src/autodiff/rules.ts';

interface Case {
  /** Differentiated inputs: concrete shapes, and their symbolic form where they differ. */
  readonly shapes: readonly (readonly number[])[];
  readonly named?: readonly Shape[];
  /** Range of the numbers fed; `USUAL_RANGE` by default. */
  readonly range?: readonly [number, number];
  build(x: readonly Value[], graph: Graph): Value;
}

const USUAL_RANGE: readonly [number, number] = [-1, 1];

const unary = (word: (x: Value) => Value, range?: readonly [number, number]): Case[] => [
  { shapes: [[2, 3]], ...(range && { range }), build: ([x]) => word(x!) },
  { shapes: [[]], ...(range && { range }), build: ([x]) => word(x!) },
];
const binary = (word: (a: Value, b: Value) => Value, range?: readonly [number, number]): Case[] =>
  [
    [
      [2, 3],
      [2, 3],
    ],
    [[2, 3], [3]],
    [
      [2, 1, 3],
      [4, 1],
    ],
    [[], [2, 2]],
    [[1], [1]],
  ].map((shapes) => ({ shapes, ...(range && { range }), build: ([a, b]) => word(a!, b!) }));
const index = (graph: Graph, shape: readonly number[], values: readonly number[]) =>
  graph.constant(int64(shape, values));

const CASES: Record<DifferentiableOp, readonly Case[]> = {
  Add: binary(op.add),
  Sub: binary(op.sub),
  Mul: binary(op.mul),
  Div: binary(op.div, [0.5, 2]),
  Min: binary(op.minimum),
  Max: binary(op.maximum),
  Pow: binary(op.pow, [0.5, 2]),
  Neg: unary(op.neg),
  Abs: unary(op.abs),
  Exp: unary(op.exp),
  Log: unary(op.log, [0.5, 2]),
  Sqrt: unary(op.sqrt, [0.5, 2]),
  Reciprocal: unary(op.reciprocal, [0.5, 2]),
  Sigmoid: unary(op.sigmoid),
  Tanh: unary(op.tanh),
  Erf: unary(op.erf),
  Softplus: unary(op.softplus),
  Sin: unary(op.sin),
  Cos: unary(op.cos),
  Where: binary((a, b) => op.where(op.greater(a.graph.constant(float32([3], [1, -1, 2])), 0), a, b))
    .filter(({ shapes }) => shapes[0]!.at(-1) === 3)
    .concat([
      {
        shapes: [
          [2, 1],
          [1, 3],
        ],
        build: ([a, b]) =>
          op.where(op.greater(a!.graph.constant(float32([3], [1, -1, 2])), 0), a!, b!),
      },
    ]),
  ReduceSum: [
    { shapes: [[2, 3, 2]], build: ([x]) => op.reduceSum(x!, [1]) },
    { shapes: [[2, 3, 2]], build: ([x]) => op.reduceSum(x!, [0, -1], true) },
    { shapes: [[1]], build: ([x]) => op.reduceSum(x!, [0]) },
    { shapes: [[2, 1, 3]], build: ([x]) => op.reduceSum(x!, [1]) },
  ],
  ReduceMean: [
    { shapes: [[2, 3, 2]], build: ([x]) => op.reduceMean(x!, [-1]) },
    {
      shapes: [[2, 3, 2]],
      named: [['B', 'T', 2]],
      build: ([x]) => op.reduceMean(x!, [0, 1, 2], true),
    },
  ],
  ReduceMax: [
    { shapes: [[2, 4]], build: ([x]) => op.reduceMax(x!, [1]) },
    { shapes: [[3, 1]], build: ([x]) => op.reduceMax(x!, [1]) },
    { shapes: [[2, 4]], named: [['B', 4]], build: ([x]) => op.reduceMax(x!, [0], true) },
  ],
  Reshape: [
    { shapes: [[2, 6]], build: ([x]) => op.reshape(x!, [2, 3, 2]) },
    { shapes: [[1, 1]], build: ([x]) => op.reshape(x!, []) },
    {
      shapes: [[2, 3, 4]],
      named: [['B', 'T', 4]],
      build: ([x]) => op.reshape(x!, ['B', 'T', 2, 2]),
    },
  ],
  Transpose: [
    { shapes: [[2, 3, 4]], build: ([x]) => op.transpose(x!, [2, 0, 1]) },
    { shapes: [[2, 1]], named: [['B', 1]], build: ([x]) => op.transpose(x!, [1, 0]) },
  ],
  Concat: [
    {
      shapes: [
        [2, 3],
        [2, 1],
      ],
      build: (x) => op.concat(x, 1),
    },
    { shapes: [[2, 2]], build: ([x]) => op.concat([x!, op.exp(x!), x!], 0) },
    {
      shapes: [
        [2, 3],
        [1, 3],
      ],
      named: [
        ['P', 3],
        ['T', 3],
      ],
      build: (x) => op.concat(x, 0),
    },
    {
      shapes: [
        [2, 3],
        [0, 3],
      ],
      named: [
        ['P', 3],
        ['T', 3],
      ],
      build: (x) => op.concat(x, 0),
    },
  ],
  Split: [
    {
      shapes: [[2, 5]],
      build: ([x]) => op.mul(...(op.split(x!, 1, [2, 2, 1]).slice(0, 2) as [Value, Value])),
    },
    { shapes: [[4, 2]], build: ([x]) => op.split(x!, 0, [1, 3])[1]! },
  ],
  Slice: [
    { shapes: [[2, 5]], build: ([x]) => op.slice(x!, 1, 1, 3) },
    { shapes: [[2, 5]], build: ([x]) => op.slice(x!, 1, 0, 2) },
    { shapes: [[4, 2]], named: [['T', 2]], build: ([x]) => op.slice(x!, 0, 1, 3) },
    { shapes: [[4, 2]], named: [['T', 2]], build: ([x]) => op.slice(x!, 0, -1, 2 ** 31 - 1) },
  ],
  Unsqueeze: [
    { shapes: [[2, 3]], build: ([x]) => op.unsqueeze(x!, [0, 2]) },
    { shapes: [[]], build: ([x]) => op.unsqueeze(x!, [0]) },
  ],
  Squeeze: [
    { shapes: [[1, 3, 1]], build: ([x]) => op.squeeze(x!, [0, -1]) },
    { shapes: [[1, 1]], build: ([x]) => op.squeeze(x!, [0, 1]) },
  ],
  Expand: [
    {
      shapes: [[3, 1]],
      build: ([x], graph) =>
        op.expandLike(x!, graph.constant(float32([2, 3, 2], Array(12).fill(0)))),
    },
    {
      shapes: [[]],
      build: ([x], graph) => op.expandLike(x!, graph.constant(float32([2, 1], [0, 0]))),
    },
  ],
  MatMul: [
    {
      shapes: [
        [2, 3],
        [3, 4],
      ],
      build: ([a, b]) => op.matmul(a!, b!),
    },
    {
      shapes: [
        [2, 2, 3],
        [3, 4],
      ],
      named: [
        ['B', 'T', 3],
        [3, 4],
      ],
      build: ([a, b]) => op.matmul(a!, b!),
    },
    {
      shapes: [
        [2, 2, 3, 2],
        [2, 1, 2, 3],
      ],
      build: ([a, b]) => op.matmul(a!, b!),
    },
    {
      shapes: [
        [1, 2, 3],
        [2, 3, 1],
      ],
      build: ([a, b]) => op.matmul(a!, b!),
    },
    {
      shapes: [
        [2, 3],
        [2, 3, 2],
      ],
      build: ([a, b]) => op.matmul(a!, b!),
    },
    {
      shapes: [
        [2, 3],
        [4, 3],
      ],
      build: ([a, b]) => op.matmul(a!, op.transpose(b!, [1, 0])),
    },
    {
      shapes: [
        [1, 1],
        [1, 1],
      ],
      build: ([a, b]) => op.matmul(a!, b!),
    },
  ],
  Gemm: [
    {
      shapes: [
        [2, 3],
        [3, 4],
      ],
      build: ([a, b]) => op.gemm(a!, b!),
    },
    {
      shapes: [
        [3, 2],
        [3, 4],
      ],
      build: ([a, b]) => op.gemm(a!, b!, { transA: true }),
    },
    {
      shapes: [
        [2, 3],
        [4, 3],
      ],
      build: ([a, b]) => op.gemm(a!, b!, { transB: true }),
    },
    {
      shapes: [
        [3, 2],
        [4, 3],
      ],
      build: ([a, b]) => op.gemm(a!, b!, { transA: true, transB: true }),
    },
  ],
  FusedMatMul: [
    {
      shapes: [
        [2, 3],
        [4, 3],
      ],
      build: ([a, b]) => op.matmulTransposed(a!, b!),
    },
    {
      shapes: [
        [2, 2, 3],
        [4, 3],
      ],
      named: [
        ['B', 'T', 3],
        [4, 3],
      ],
      build: ([a, b]) => op.matmulTransposed(a!, b!),
    },
    {
      shapes: [
        [2, 2, 3],
        [2, 4, 3],
      ],
      build: ([a, b]) => op.matmulTransposed(a!, b!),
    },
    {
      shapes: [
        [2, 2, 3],
        [1, 4, 3],
      ],
      build: ([a, b]) => op.matmulTransposed(a!, b!),
    },
    {
      shapes: [
        [1, 1, 1],
        [2, 1],
      ],
      build: ([a, b]) => op.matmulTransposed(a!, b!),
    },
  ],
  Gather: [
    { shapes: [[4, 2]], build: ([x], g) => op.gather(x!, index(g, [3], [1, 1, 3])) },
    {
      shapes: [[4, 2]],
      named: [['V', 2]],
      build: ([x], g) => op.gather(x!, index(g, [2, 2], [0, 1, 1, 3])),
    },
    { shapes: [[2, 4, 2]], build: ([x], g) => op.gather(x!, index(g, [2, 2], [0, 1, 1, 3]), 1) },
    { shapes: [[3, 2]], build: ([x], g) => op.gather(x!, index(g, [], [2])) },
    { shapes: [[3, 2]], build: ([x], g) => op.gather(x!, index(g, [2], [-1, 0])) },
  ],
  GatherElements: [
    {
      shapes: [[2, 3]],
      build: ([x], g) => op.gatherElements(x!, index(g, [2, 2], [0, 0, 2, 1]), 1),
    },
    { shapes: [[3, 2]], build: ([x], g) => op.gatherElements(x!, index(g, [1, 2], [2, 0]), 0) },
    { shapes: [[3, 2]], build: ([x], g) => op.gatherElements(x!, index(g, [1, 2], [-1, 0]), 0) },
  ],
  ScatterElements: ['add', 'none'].map((reduction) => ({
    shapes: [
      [2, 3],
      [2, 2],
    ],
    build: ([x, u], g) =>
      g.apply('ScatterElements', [x!, index(g, [2, 2], [0, 1, 2, 1]), u!], {
        axis: 1,
        reduction,
      })[0]!,
  })),
  GatherND: [
    { shapes: [[3, 2]], build: ([x], g) => op.gatherND(x!, index(g, [3, 1], [2, 0, 2])) },
    { shapes: [[3, 2]], build: ([x], g) => op.gatherND(x!, index(g, [2, 2], [2, 0, 1, 1])) },
    { shapes: [[3, 2]], build: ([x], g) => op.gatherND(x!, index(g, [2, 2], [-1, 0, 1, -2])) },
    {
      shapes: [[2, 3, 2]],
      build: ([x], g) => op.gatherND(x!, index(g, [2, 2, 1], [2, 0, 1, 1]), 1),
    },
    { shapes: [[2, 3]], build: ([x], g) => op.gatherND(x!, index(g, [2, 2, 1], [2, 0, 1, 1]), 1) },
  ],
  ScatterND: ['add', 'none'].map((reduction) => ({
    shapes: [
      [3, 2],
      [2, 2],
    ],
    build: ([x, u], g) =>
      g.apply('ScatterND', [x!, index(g, [2, 1], [2, 0]), u!], { reduction })[0]!,
  })),
  Softmax: [
    { shapes: [[2, 4]], build: ([x]) => op.softmax(x!) },
    { shapes: [[2, 3, 2]], build: ([x]) => op.softmax(x!, 1) },
    { shapes: [[2, 1]], build: ([x]) => op.softmax(x!) },
  ],
  LogSoftmax: [
    { shapes: [[2, 4]], build: ([x]) => op.logSoftmax(x!) },
    { shapes: [[2, 3, 2]], build: ([x]) => op.logSoftmax(x!, 1) },
    { shapes: [[2, 1]], build: ([x]) => op.logSoftmax(x!) },
  ],
  SimplifiedLayerNormalization: [
    { shapes: [[2, 4], [4]], build: ([x, w]) => op.rmsNorm(x!, w!, 1e-5) },
    { shapes: [[1, 1], [1]], build: ([x, w]) => op.rmsNorm(x!, w!, 0.1) },
    {
      shapes: [[2, 2, 3], [3]],
      named: [['B', 'T', 3], [3]],
      build: ([x, w]) => op.rmsNorm(x!, w!, 0.1),
    },
  ],
  LayerNormalization: [
    { shapes: [[2, 4], [4], [4]], build: ([x, w, b]) => op.layerNorm(x!, w!, b!, 1e-5) },
    { shapes: [[2, 2, 3], [3], [3]], build: ([x, w, b]) => op.layerNorm(x!, w!, b!, 0.1) },
  ],
  Cast: unary((x) => op.cast(op.cast(x, 'float16'), 'float32'), [4, 5]).map((c) => ({
    ...c,
    build: ([x]: readonly Value[]) =>
      op.mul(op.cast(op.cast(x!, 'int32'), 'float32'), op.cast(x!, 'float32')),
  })),
};

/** Their gradient comes small, as the sum left it, to the operator. */
const sumsOf = (words: readonly ((x: Value) => Value)[], range: readonly [number, number]) =>
  words.map((word): Case => ({
    shapes: [[2, 4]],
    range,
    build: ([x]) => op.reduceSum(word(x!), [1]),
  }));

/** What is made of several operators. */
const COMPOSITES: Record<string, readonly Case[]> = {
  logSumExp: [
    { shapes: [[2, 4]], build: ([x]) => op.logSumExp(x!, [-1]) },
    { shapes: [[3, 1]], build: ([x]) => op.logSumExp(x!, [-1]) },
    { shapes: [[2, 2, 2]], build: ([x]) => op.logSumExp(x!, [0, 2]) },
    { shapes: [[2, 4]], build: ([x]) => op.logSumExp(x!, [0], true) },
  ],
  'a sum over what one operator makes': sumsOf(
    [op.exp, op.log, op.sqrt, op.reciprocal, op.sigmoid, op.tanh],
    [0.5, 2],
  ),
};

/** Numbers that are spread out, so that no two are near a tie of Min, Max or ReduceMax. */
function spread(count: number, [low, high]: readonly [number, number], seed: number): Float32Array {
  const order = Array.from({ length: count }, (_, i) => i).sort(
    (a, b) => Math.sin(a * 12.9898 + seed) - Math.sin(b * 12.9898 + seed),
  );
  return Float32Array.from(
    order,
    (k) => low + ((high - low) * (k + 0.37 + 0.11 * seed)) / (count + 0.5),
  );
}

/** What a tie is worth: inputs, the value made of them, and the gradient of its sum for each input. */
interface Tie {
  readonly x: readonly (readonly number[])[];
  readonly gradients: readonly (readonly number[])[];
  build(x: readonly Value[]): Value;
}

/** Where a function has a corner, its gradient is the mean of those around it, as PyTorch has it. */
const TIES: Readonly<Record<string, Tie>> = {
  'Min gives half to each of two equals': {
    x: [
      [1, 2, 3],
      [2, 2, 2],
    ],
    gradients: [
      [1, 0.5, 0],
      [0, 0.5, 1],
    ],
    build: ([a, b]) => op.minimum(a!, b!),
  },
  'Max gives half to each of two equals': {
    x: [
      [1, 2, 3],
      [2, 2, 2],
    ],
    gradients: [
      [0, 0.5, 1],
      [1, 0.5, 0],
    ],
    build: ([a, b]) => op.maximum(a!, b!),
  },
  'Max gives a broadcast operand the sum of its shares': {
    x: [[2, 2, 3, 1], [2]],
    gradients: [[0.5, 0.5, 1, 0], [2]],
    build: ([a, b]) => op.maximum(a!, b!),
  },
  'ReduceMax gives equal parts to all maxima': {
    x: [[3, 1, 3, 3]],
    gradients: [[1 / 3, 0, 1 / 3, 1 / 3]],
    build: ([x]) => op.reduceMax(x!, [0]),
  },
  'Abs has no slope at zero': {
    x: [[-1, 0, 2]],
    gradients: [[-1, 0, 1]],
    build: ([x]) => op.abs(x!),
  },
};

/** A graph of `loss` and of its gradients `g0`, `g1`, … for the inputs. */
function withGradients(graph: Graph, loss: Value, inputs: readonly Value[]): Graph {
  graph.output('loss', loss);
  gradients(loss, inputs).forEach((g, i) => graph.output(`g${i}`, g));
  return graph;
}

const total = (x: Value): Value =>
  x.shape.length > 0
    ? op.reduceSum(
        x,
        x.shape.map((_, axis) => axis),
      )
    : x;

const noWeights = () => {
  throw new Error('no weights here');
};

interface Backend {
  readonly start: () => Promise<Runtime>;
  /** Computes the points of the differences, where the backend is too slow for so many runs. */
  readonly differences?: () => Promise<Runtime>;
  /** Whether it can be fed a tensor with no elements. */
  readonly bindsEmpty?: boolean;
}

/** Declares the tests of all rules on one backend. */
export function testGradients({ start, differences = start, bindsEmpty = true }: Backend): void {
  let runtime: Runtime;
  let other: Runtime;
  const sessions: Session[] = [];
  const load = async (on: Runtime, graph: Graph): Promise<Session> => {
    const session = await on.load(graph, noWeights);
    sessions.push(session);
    return session;
  };
  // All at the end: a graphics device goes with its last session.
  afterAll(async () => {
    for (const session of sessions) await session.dispose();
  });
  beforeAll(async () => {
    runtime = await start();
    other = differences === start ? runtime : await differences();
  });

  describe.each(Object.entries({ ...CASES, ...COMPOSITES }))('the gradient of %s', (_, cases) => {
    it.for(cases.map((c, i) => [i, c.shapes, c] as const))(
      'equals central differences (case %i, shapes %j)',
      async ([, , { shapes, named, range = USUAL_RANGE, build }], { skip }) => {
        skip(!bindsEmpty && shapes.flat().includes(0), 'cannot be fed an empty tensor');
        const graph = new Graph();
        const inputs = shapes.map((s, i) => graph.input(`x${i}`, 'float32', named?.[i] ?? s));
        const y = build(inputs, graph);
        // A fixed random direction c makes one number of y: Σ sin(…)·y with no symmetric cancellation.
        const loss = total(op.mul(y, op.add(op.sin(op.mul(y, 2)), 1.5)));
        withGradients(graph, loss, inputs);
        const session = await load(runtime, graph);
        const values = shapes.map((s, i) => spread(sizeOf(s), range, i + 1));
        const feed = (data: readonly Float32Array[]) =>
          Object.fromEntries(data.map((d, i) => [`x${i}`, float32(shapes[i]!, d)]));
        const analytic = await session.run(feed(values));
        const plain = other === runtime ? session : await load(other, graph);
        const lossAt = async (data: readonly Float32Array[]) =>
          Number((await plain.run(feed(data)))['loss']!.data[0]);
        const step = 0.01;
        for (const [i, x] of values.entries()) {
          const got = analytic[`g${i}`]!;
          expect([...got.shape]).toEqual(shapes[i]);
          for (let k = 0; k < x.length; k++) {
            const moved = (by: number) =>
              values.map((v, j) => (j === i ? v.with(k, v[k]! + by) : v));
            const [a, b, c, d] = [
              await lossAt(moved(step)),
              await lossAt(moved(-step)),
              await lossAt(moved(2 * step)),
              await lossAt(moved(-2 * step)),
            ] as [number, number, number, number];
            // Fourth-order differences: float32 rounding, not truncation, sets the tolerance.
            const numeric = (8 * (a - b) - (c - d)) / (12 * step);
            expect(Math.abs(Number(got.data[k]) - numeric)).toBeLessThan(
              3e-3 * Math.max(1, Math.abs(numeric)),
            );
          }
        }
      },
    );
  });

  it('the gradient of x·e, e detached, is e; that of a sum of e is 1 for each of them', async () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [2]);
    const e = op.exp(x);
    graph.output('e', e);
    graph.output('ofX', gradients(total(op.mul(x, op.detached(e))), [x])[0]!);
    graph.output('ofE', gradients(total(e), [e])[0]!);
    const session = await load(runtime, graph);
    const out = await session.run({ x: float32([2], [0.5, -1]) });
    expect(out['ofX']).toEqual(out['e']);
    expect(out['ofE']).toMatchObject({ shape: [2], data: Float32Array.of(1, 1) });
  });

  describe('a tie', () => {
    it.each(Object.entries(TIES))('of %s', async (_, { x, gradients: expected, build }) => {
      const graph = new Graph();
      const inputs = x.map((row, i) => graph.input(`x${i}`, 'float32', [row.length]));
      withGradients(graph, total(build(inputs)), inputs);
      const session = await load(runtime, graph);
      const out = await session.run(
        Object.fromEntries(x.map((row, i) => [`x${i}`, float32([row.length], row)])),
      );
      expected.forEach((g, i) =>
        expect(out[`g${i}`]).toMatchObject({ shape: [g.length], data: Float32Array.from(g) }),
      );
    });
  });
}
