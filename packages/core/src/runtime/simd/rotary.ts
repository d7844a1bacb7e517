// Finds rotary positions in a graph: x · cos + turned · sin, where turned is x with its halves exchanged and the new first
// one negated, which models write as seven nodes. It knows the graph only.
import { axisOf, int } from '../../graph/index.ts';
import type { Node, Value } from '../../graph/index.ts';

export interface Rotary {
  /** [B, H, T, D] */
  readonly x: Value;
  /** [B or 1, 1, T, D] */
  readonly cos: Value;
  readonly sin: Value;
  /** As x. */
  readonly output: Value;
  /** All that it stands for, in no order, and the values in between. */
  readonly nodes: readonly Node[];
  readonly inside: readonly Value[];
}

/** The rotation that a sum ends; undefined where it is another sum, or another node needs what lies in between. */
export function findRotary(
  sum: Node,
  consumers: (value: Value) => readonly Node[],
): Rotary | undefined {
  const products = sum.inputs.map(({ node }) => node);
  for (const [i, straight] of products.entries()) {
    const crossed = products[1 - i];
    if (straight?.op !== 'Mul' || crossed?.op !== 'Mul') continue;
    const [x, cos] = straight.inputs as [Value, Value];
    const [turned, sin] = crossed.inputs as [Value, Value];
    const joined = turned.node;
    const negated = joined?.inputs[0]?.node;
    const split = negated?.inputs[0]?.node;
    if (joined?.op !== 'Concat' || negated?.op !== 'Neg' || split?.op !== 'Split') continue;
    const [low, high] = split.outputs;
    const nodes = [split, negated, joined, straight, crossed, sum];
    const inside = nodes.slice(0, -1).flatMap(({ outputs }) => outputs);
    const own = new Set(nodes);
    const isClosed = inside.every((value) => consumers(value).every((node) => own.has(node)));
    const isHalved =
      split.inputs[0] === x &&
      split.outputs.length === 2 &&
      joined.inputs.length === 2 &&
      negated.inputs[0] === high &&
      joined.inputs[1] === low &&
      x.shape.length === 4 &&
      low!.shape[3] === high!.shape[3] &&
      [split, joined].every(({ attributes }) => axisOf(int(attributes, 'axis'), 4) === 3);
    if (isClosed && isHalved) return { x, cos, sin, output: sum.outputs[0]!, nodes, inside };
  }
  return undefined;
}
