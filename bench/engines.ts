// Whom the bench measures, by the names its tables give them.

export const OWN = 'own SIMD kernels';
/** Our own graphs on other runtimes: what the product falls back on, and what is exact. */
export const EXACT = 'ONNX Runtime Web fp32';
export const GRAPHICS = 'ONNX Runtime Web WebGPU fp32';
export const WLLAMA = 'wllama, same GGUF';
export const TRANSFORMERS = 'transformers.js fp32 (best of equal quality)';
export const TRANSFORMERS_Q8 = 'transformers.js q8 (default)';
export const WEBLLM = 'WebLLM, its own fp32 build';

export const NODE_OWN = 'Node: own SIMD kernels';
export const NODE_EXACT = 'Node: ONNX Runtime fp32';
export const LLAMA_CPP = 'Node: llama.cpp (node-llama-cpp), same GGUF';

export const TRAINING_NODE = 'own autodiff, Node';
export const TRAINING_PAGE = 'own autodiff, Chromium WASM';
export const PYTORCH = 'PyTorch fp32';
