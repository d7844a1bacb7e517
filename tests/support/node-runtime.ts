// The server's ONNX Runtime, for tests and bench.
export { nodeRuntime } from '../../apps/server/node-runtime.ts';
