// The door of @rapport/core: how a model is described, loaded and spoken with.

// Errors with a remedy.
export { RapportError, assert } from './error.ts';

// Graphs: a computation as data, the operators it is written in, ONNX bytes.
export {
  Graph,
  OPS,
  ONNX_TYPE,
  Value,
  axisOf,
  broadcast,
  describe,
  dims,
  float32,
  int,
  int64,
  ints,
  sameShape,
  sizeOf,
  toOnnx,
  zeros,
} from './graph/index.ts';
export type {
  Attributes,
  DType,
  DataOf,
  Dim,
  ExternalData,
  Node,
  OpName,
  Shape,
  Tensor,
  TensorData,
} from './graph/index.ts';
export * as op from './graph/build.ts';
