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

// Weights: checkpoints in GGUF or safetensors, by Hugging Face name, as fp32 or as stored.
export { blobSource, bytesSource } from './weights/byte-source.ts';
export type { ByteSource } from './weights/byte-source.ts';
export type { Checkpoint, RawTensor, TensorInfo } from './weights/checkpoint.ts';
export { openGguf } from './weights/gguf-checkpoint.ts';
export { openSafetensors } from './weights/safetensors-checkpoint.ts';
export type { HuggingFaceFiles } from './weights/safetensors-checkpoint.ts';
export { readSafetensors, writeSafetensors } from './weights/safetensors.ts';
export type { NamedTensor } from './weights/safetensors.ts';
export { tensorShapes } from './weights/model-config.ts';
export type { Architecture, ModelConfig } from './weights/model-config.ts';

// Tokenizer: text to tokens and back, conversations to prompts.
export { buildTokenizer } from './tokenizer/tokenizer.ts';
export type { ChatMessage, DecodeStream, Tokenizer } from './tokenizer/tokenizer.ts';
export type { TokenizerSpec } from './tokenizer/spec.ts';
