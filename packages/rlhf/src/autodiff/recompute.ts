// Trading time for memory (arXiv 1604.06174): what a stretch of the graph made in the forward pass is forgotten and
// made again when the backward pass comes to it. Which stretches, a memory budget says. It knows no models.
import { assert, op } from '@rapport/core';
import type { Graph, Node, Shape, Value } from '@rapport/core';

/** A part of a graph, as a layer is: everything computed from `from` on the way to `to`. */
export interface Stretch {
  readonly from: Value;
  readonly to: Value;
}

/** What named dimensions will be. */
export type Sizes = Readonly<Record<string, number>>;

/** Copies of nodes for the backward pass to read, made stretch by stretch when it gets there. */
export class Recomputation {
  readonly #stretchOf = new Map<Node, Stretch>();
  readonly #nodes = new Map<Stretch, readonly Node[]>();
  readonly #copies = new Map<Node, Node>();

  constructor(graph: Graph, stretches: readonly Stretch[]) {
    for (const stretch of stretches) {
      const nodes = nodesOf(graph, stretch);
      this.#nodes.set(stretch, nodes);
      for (const node of nodes) this.#stretchOf.set(node, stretch);
    }
  }

  /** The node whose values the backward pass reads in place of `node`: its copy, or itself. */
  of(node: Node, gradients: ReadonlyMap<Value, Value>): Node {
    const stretch = this.#stretchOf.get(node);
    if (!stretch) return node;
    if (!this.#copies.has(node)) this.#copy(stretch, gradients.get(stretch.to));
    return this.#copies.get(node)!;
  }

  #copy(stretch: Stretch, gradient: Value | undefined): void {
    const { from, to } = stretch;
    assert(gradient, `no gradient has come to ${to.name}`);
    const values = new Map([[from, after(from, gradient)]]);
    for (const node of this.#nodes.get(stretch)!) {
      const inputs = node.inputs.map((x) => values.get(x) ?? againLate(x, gradient));
      const outputs = from.graph.apply(node.op, inputs, node.attributes);
      node.outputs.forEach((y, i) => values.set(y, outputs[i]!));
      this.#copies.set(node, { ...node, inputs, outputs });
    }
  }
}

/**
 * A frozen matrix held as integers is made floats again for the backward pass, not before `gradient` is there: kept
 * since the forward pass, floats of all layers would be there at once. Other values are as they are.
 */
export function againLate(x: Value, gradient: Value): Value {
  if (x.node?.op !== 'DequantizeLinear') return x;
  const [integers, scale] = x.node.inputs;
  const inputs = [integers!, after(scale!, gradient)];
  return x.graph.apply('DequantizeLinear', inputs, x.node.attributes)[0]!;
}

/** x, but not before `gradient` is there: else the copies would be made, or merged with what they copy, at once. */
function after(x: Value, gradient: Value): Value {
  const axes = gradient.shape.map((_, axis) => axis);
  const corner = axes.reduce((g, axis) => op.slice(g, axis, 0, 1), gradient);
  const one = axes.length > 0 ? op.reduceSum(corner, axes) : corner;
  return op.add(x, op.mul(one, 0));
}

function nodesOf(graph: Graph, { from, to }: Stretch): Node[] {
  const reached = new Set([from]);
  const end = graph.nodes.indexOf(to.node!);
  assert(end >= 0, `${to.name} is no result of a node`);
  return graph.nodes.slice(0, end + 1).filter((node) => {
    if (!node.inputs.some((x) => reached.has(x))) return false;
    for (const y of node.outputs) reached.add(y);
    return true;
  });
}

/**
 * Of equal stretches one after another, the first ones: as many as must be made again so that what the others keep,
 * and one that is being made again, fit into `budgetBytes`.
 */
export function withinBudget(
  graph: Graph,
  stretches: readonly Stretch[],
  { budgetBytes, sizes }: { readonly budgetBytes: number; readonly sizes: Sizes },
): Stretch[] {
  const bytes = stretches.map((stretch) => keptBytes(nodesOf(graph, stretch), sizes));
  const all = bytes.reduce((a, b) => a + b, 0);
  if (all <= budgetBytes) return [];
  let kept = all + Math.max(...bytes);
  const again: Stretch[] = [];
  for (const [i, stretch] of stretches.entries()) {
    if (kept <= budgetBytes) break;
    kept -= bytes[i]! - bytesOf(stretch.from.shape, sizes);
    again.push(stretch);
  }
  return again;
}

/** An upper bound of what the backward pass finds of these nodes: every floating-point result. */
const keptBytes = (nodes: readonly Node[], sizes: Sizes): number =>
  nodes
    .flatMap(({ outputs }) => outputs)
    .filter(({ dtype }) => dtype === 'float32')
    .reduce((sum, { shape }) => sum + bytesOf(shape, sizes), 0);

const bytesOf = (shape: Shape, sizes: Sizes): number =>
  shape.reduce<number>((product, d) => {
    const size = typeof d === 'number' ? d : sizes[d];
    assert(size !== undefined, `no size for dimension ${d}`);
    return product * size;
  }, 4);
