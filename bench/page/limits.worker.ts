// One thread of the machine's limits: arithmetic in WASM, and reading memory.
import { FLOPS_A_ROUND, MEMORY_BYTES, peakModule } from '../peak-module.ts';

export interface Limits {
  /** Multiplications and additions per second. */
  flops: number;
  /** Bytes read per second. */
  bytes: number;
}

const ROUNDS = 2_000_000;

self.onmessage = ({ data: forMs }: MessageEvent<number>) => {
  const module = new WebAssembly.Module(peakModule());
  const { multiply, read, memory } = new WebAssembly.Instance(module).exports as {
    multiply(rounds: number): number;
    read(bytes: number): number;
    memory: WebAssembly.Memory;
  };
  // Pages that nobody wrote to are one and the same page of zeros.
  new Float32Array(memory.buffer).fill(1);
  multiply(ROUNDS);
  read(MEMORY_BYTES);
  const limits: Limits = {
    flops: rate(forMs, ROUNDS * FLOPS_A_ROUND, () => multiply(ROUNDS)),
    bytes: rate(forMs, MEMORY_BYTES, () => read(MEMORY_BYTES)),
  };
  self.postMessage(limits);
};

/** Amount per second of something done again and again for so long. */
function rate(forMs: number, amount: number, act: () => unknown): number {
  const fromMs = performance.now();
  let done = 0;
  let ms = 0;
  while (ms < forMs) {
    act();
    done += amount;
    ms = performance.now() - fromMs;
  }
  return (done / ms) * 1000;
}
