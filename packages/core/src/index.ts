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
export type { Checkpoint, RawTensor, TensorInfo, Weights } from './weights/checkpoint.ts';
export { openGguf } from './weights/gguf-checkpoint.ts';
export { openSafetensors } from './weights/safetensors-checkpoint.ts';
export type { HuggingFaceFiles } from './weights/safetensors-checkpoint.ts';
export { readSafetensors, writeSafetensors } from './weights/safetensors.ts';
export type { NamedTensor } from './weights/safetensors.ts';
export { blockScales, blocksIn, toInt8 } from './weights/int8.ts';
export { tensorShapes } from './weights/model-config.ts';
export type { Architecture, ModelConfig } from './weights/model-config.ts';

// Tokenizer: text to tokens and back, conversations to prompts.
export { buildTokenizer } from './tokenizer/tokenizer.ts';
export type { ChatMessage, DecodeStream, Tokenizer } from './tokenizer/tokenizer.ts';
export type { TokenizerSpec } from './tokenizer/spec.ts';

// Feedback: what a judgement is, on its way to the server and as training rows.
export {
  EventIdSchema,
  FEEDBACK_LIMITS,
  FEEDBACK_VERSION,
  FeedbackEventSchema,
  ProvenanceSchema,
  RankingSchema,
  VoteSchema,
  depthOf,
  readEvent,
} from './feedback/events.ts';
export type {
  BatchAnswer,
  Edit,
  EventResult,
  EventType,
  FeedbackEvent,
  Provenance,
  Ranking,
  RatedReply,
  Vote,
} from './feedback/events.ts';
export { rankingPairs } from './feedback/pairs.ts';
export { judgementOfRow, ktoRows, trlRows } from './feedback/preference.ts';
export type { Judgement, KtoRow, TrlRow } from './feedback/preference.ts';

// Releases: signed documents, what a client accepts, which release a device speaks with.
export {
  canonicalBytes,
  canonicalJson,
  digestOf,
  fromHex,
  sha256Hex,
  toHex,
} from './releases/canonical.ts';
export {
  BaseSchema,
  ChannelSchema,
  FileSchema,
  ReleaseSchema,
  RootSchema,
} from './releases/documents.ts';
export type {
  BaseModel,
  BlobFile,
  Channel,
  Chunks,
  Golden,
  Release,
  Role,
  Root,
  Signed,
} from './releases/documents.ts';
export { keyPair, signBytes, verifyBytes } from './releases/ed25519.ts';
export type { KeyPair } from './releases/ed25519.ts';
export { signDocument, verifySigned } from './releases/sign.ts';
export {
  CHANNEL_LIFE_MS,
  acceptChannel,
  acceptRelease,
  acceptRoot,
  bucketOf,
  chunksOf,
  isStale,
  verifyChunk,
  wantedRelease,
} from './releases/rules.ts';

// Randomness: seeded, with a state that can be saved.
export { Random } from './random.ts';
export type { RandomState } from './random.ts';

// Runtimes: what graphs run on. ONNX Runtime, and our own WASM SIMD kernels on quantised blocks as stored.
export type { Runtime, Session, TensorMemory, WeightSource } from './runtime/runtime.ts';
export { AS_THEY_ARE, ortRuntime, ortSession } from './runtime/ort.ts';
export type { OrtModule } from './runtime/ort.ts';
export { createSimdRuntime, serveKernels } from './runtime/simd/simd-runtime.ts';
export type {
  HelperThread,
  KernelThread,
  SimdOptions,
  SimdRuntime,
} from './runtime/simd/simd-runtime.ts';

// Models: architectures as graph words, adapters, PEFT files.
export { buildModel } from './models/build-model.ts';
export { dropoutFeeds } from './models/dropout.ts';
export type { Dropout } from './models/dropout.ts';
export { ModelGraph, causalMask } from './models/model-graph.ts';
export type { BaseFormat } from './models/model-graph.ts';
export { chatGraph } from './models/chat-graph.ts';
export { linearSites } from './models/sites.ts';
export type { LinearSite } from './models/sites.ts';
export { adapterFeeds, joinAdapters } from './models/adapter.ts';
export type { Adapter } from './models/adapter.ts';
export { foldAdapter } from './models/fold-adapter.ts';
export { readPeft, readPeftConfig, writePeft } from './models/peft.ts';

// Generation: one conversation, streamed, with everything that can be asked of sampling.
export { CACHE_BYTES, ChatEngine } from './generation/chat-engine.ts';
export { KeyValueCache } from './generation/key-value-cache.ts';
export type {
  SamplingWithSeed,
  SpeakRequest,
  SpokenReply,
  SpokenToken,
} from './generation/speech.ts';
