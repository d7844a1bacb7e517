// Finds attention in a graph: softmax(QKᵀ + mask)·V over segments of keys and values, which models write as
// a dozen nodes. It knows the graph only.
import { axisOf, int } from '../../graph/index.ts';
import type { Node, Value } from '../../graph/index.ts';

/** Keys and values [B or 1, H, n, D] and their mask [B or 1, 1, M or 1, n]. */
export interface Segment<T = Value> {
  readonly keys: T;
  readonly mask: T;
  readonly values: T;
}

export interface Attention {
  /** [B, H, M, D] */
  readonly query: Value;
  readonly segments: readonly Segment[];
  /** The shape of the query. */
  readonly output: Value;
  /** All that it stands for, in no order. */
  readonly nodes: readonly Node[];
}

type Consumers = (value: Value) => readonly Node[];

/** The attention that a softmax belongs to; undefined where another node needs what lies in between. */
export function findAttention(softmax: Node, consumers: Consumers): Attention | undefined {
  const only = (value: Value, op: Node['op']): Node | undefined =>
    consumers(value).find((node) => node.op === op);
  const isLast = ({ attributes, inputs }: Node): boolean =>
    axisOf(int(attributes, 'axis'), inputs[0]!.shape.length) === 3;

  const joined = softmax.inputs[0]!.node;
  const split = only(softmax.outputs[0]!, 'Split');
  if (joined?.op !== 'Concat' || !split || ![softmax, joined, split].every(isLast)) {
    return undefined;
  }
  const sizes = split.inputs[1]!.node;
  const nodes: Node[] = [];
  const segments: Segment[] = [];
  let output: Value | undefined;
  for (const [i, scores] of joined.inputs.entries()) {
    const masked = scores.node;
    const fit = masked?.inputs[0]!.node;
    const mix = split.outputs[i] && only(split.outputs[i], 'MatMul');
    if (masked?.op !== 'Add' || fit?.op !== 'FusedMatMul' || !mix) return undefined;
    nodes.push(fit, masked, mix);
    segments.push({ keys: fit.inputs[1]!, mask: masked.inputs[1]!, values: mix.inputs[1]! });
    const sum: Node | undefined = output && only(output, 'Add');
    if (output && !sum?.inputs.includes(mix.outputs[0]!)) return undefined;
    if (sum) nodes.push(sum);
    output = (sum ?? mix).outputs[0]!;
  }
  const query = nodes[0]!.inputs[0]!;
  nodes.push(joined, softmax, split);
  if (sizes) nodes.push(sizes, ...sizes.inputs.flatMap(({ node }) => node ?? []));
  const own = new Set(nodes);
  const isClosed = nodes.every((node) =>
    node.outputs.every((x) => x === output || consumers(x).every((user) => own.has(user))),
  );
  const isOneQuery = nodes.every(({ op, inputs }) => op !== 'FusedMatMul' || inputs[0] === query);
  return output && isClosed && isOneQuery ? { query, segments, output, nodes } : undefined;
}
