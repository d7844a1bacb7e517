// What an engine in WASM has taken from this realm. ONNX Runtime keeps its memory to itself, so it is met where
// it is made.

/** Bytes of all memories made from now on: call it before the engine starts. Memories grow and never shrink. */
export function watchHeap(): () => number {
  const memories: WebAssembly.Memory[] = [];
  WebAssembly.Memory = new Proxy(WebAssembly.Memory, {
    construct(Memory, [descriptor]: [WebAssembly.MemoryDescriptor]) {
      const memory = new Memory(descriptor);
      memories.push(memory);
      return memory;
    },
  });
  return () => memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
}
