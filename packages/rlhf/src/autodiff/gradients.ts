// Reverse-mode differentiation of a graph: the nodes are walked backwards once, each rule adds nodes.
// It knows neither models nor losses.
import { assert, describe, op, RapportError, sameShape } from '@rapport/core';
import type { Dim, Graph, Node, OpName, Value } from '@rapport/core';
import { Recomputation } from './recompute.ts';
import type { Stretch } from './recompute.ts';
import { NON_DIFFERENTIABLE, RULES, isFloat, zerosLike } from './rules.ts';

/**
 * Extends the graph of `loss` by the nodes that compute ∂loss/∂w for each `w` of `wrt`.
 *
 * - `loss`: a scalar, or with `seed` (its shape) any value.
 * - `wrt`: any inputs, weights or intermediate values of the same graph.
 * - `recompute`: parts whose intermediate values are not kept for the backward pass but made again in it; `wrt` lies
 *   outside of them, or is one of their inputs.
 *
 * Returns one value per element of `wrt`, of its shape.
 *
 * @throws RapportError `autodiff/opaque` when a gradient must pass an operator without a rule,
 * `autodiff/unrelated` when the loss does not depend on an element of `wrt`.
 */
export function gradients(
  loss: Value,
  wrt: readonly Value[],
  { seed, recompute = [] }: { seed?: Value; recompute?: readonly Stretch[] } = {},
): Value[] {
  const { graph } = loss;
  assert(seed ?? loss.shape.length === 0, `a loss is a scalar, not ${describe(loss.shape)}`);
  const needed = dependents(graph, wrt);
  const found = new Map<Value, Value>([[loss, seed ?? graph.scalar(1)]]);
  const again = new Recomputation(graph, recompute);
  for (const node of [...graph.nodes].reverse()) {
    if (!node.outputs.some((y) => found.has(y)) || !node.inputs.some((x) => needed.has(x)))
      continue;
    for (const [x, g] of localGradients(node, again.of(node, found), found, needed)) {
      const fitted = unbroadcast(g, x, node);
      const sum = found.get(x);
      found.set(x, sum ? op.add(sum, fitted) : fitted);
    }
  }
  return wrt.map((w) => {
    const g = found.get(w) ?? unrelated(w, loss);
    return sameShape(g.shape, w.shape) ? g : op.expandLike(g, w);
  });
}

/** Everything a gradient must reach: `wrt` and the values computed from it. */
function dependents(graph: Graph, wrt: readonly Value[]): Set<Value> {
  const needed = new Set(wrt);
  for (const node of graph.nodes) {
    if (!node.inputs.some((x) => needed.has(x)) || stops(node)) continue;
    for (const y of node.outputs) if (isFloat(y.dtype)) needed.add(y);
  }
  return needed;
}

/** Operators on one value each of whose rules multiplies g by a value of its shape: g may come smaller, to be repeated there. */
const WIDENS: ReadonlySet<OpName> = new Set([
  'Exp',
  'Log',
  'Sqrt',
  'Reciprocal',
  'Sigmoid',
  'Tanh',
]);

const kind = (node: Node) => (NON_DIFFERENTIABLE as Partial<Record<string, string>>)[node.op];
const stops = (node: Node): boolean => kind(node) === 'constant';

/** The pairs (input, its gradient) of one node, computed from the values of `seen`: the node, or its copy. */
function* localGradients(
  node: Node,
  seen: Node,
  found: ReadonlyMap<Value, Value>,
  needed: ReadonlySet<Value>,
): Generator<readonly [Value, Value]> {
  if (kind(node) === 'opaque') throw opaque(node);
  if (stops(node)) return;
  const all = node.outputs.map((y, i) => found.get(y) ?? zerosLike(seen.outputs[i]!));
  const locals = RULES[node.op as keyof typeof RULES](seen.inputs, all[0]!, seen, all);
  for (const [i, local] of locals.entries()) {
    const x = node.inputs[i];
    if (local && x && needed.has(x)) yield [x, local()];
  }
}

/** Sums a gradient over the axes along which its value was broadcast, or repeats it where a rule left it small. */
function unbroadcast(g: Value, x: Value, node: Node): Value {
  if (sameShape(g.shape, x.shape)) return g;
  const lead = g.shape.length - x.shape.length;
  if (lead < 0) return op.expandLike(g, x);
  const summed = g.shape.flatMap((d: Dim, i) =>
    i >= lead && x.shape[i - lead] === 1 && d !== 1 ? [i] : [],
  );
  const leading = Array.from({ length: lead }, (_, i) => i);
  let out = summed.length ? op.reduceSum(g, summed, true) : g;
  if (lead > 0) out = op.reduceSum(out, leading);
  if (sameShape(out.shape, x.shape) || (x.node && WIDENS.has(x.node.op))) return out;
  const small = out.shape.every((d, i) => d === 1 || d === x.shape[i]);
  assert(small, `${node.op}: gradient ${describe(g.shape)} for ${x.name} ${describe(x.shape)}`);
  return op.expandLike(out, x);
}

function opaque(node: Node): RapportError {
  return new RapportError(
    'autodiff/opaque',
    `No gradient can pass ${node.op} (the node that makes ${node.outputs[0]?.name}).`,
    'Build the training graph with fp32 or dequantised weights.',
  );
}

function unrelated(w: Value, loss: Value): never {
  throw new RapportError(
    'autodiff/unrelated',
    `${loss.name} does not depend on ${w.name}, so it has no gradient.`,
    'Differentiate only what the loss is computed from.',
  );
}
