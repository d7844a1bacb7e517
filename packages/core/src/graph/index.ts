// The graph room's door.
export { Graph, Value } from './graph.ts';
export type { Node } from './graph.ts';
export { OPS, ONNX_TYPE, dims, int, ints } from './ops.ts';
export type { Attributes, OpName } from './ops.ts';
export { axisOf, broadcast, describe, sameShape } from './shape.ts';
export type { Dim, Shape } from './shape.ts';
export { float32, int64, sizeOf, zeros } from './tensor.ts';
export type { DType, DataOf, Floats, Tensor, TensorData } from './tensor.ts';
export { toOnnx } from './onnx.ts';
export type { ExternalData } from './onnx.ts';
