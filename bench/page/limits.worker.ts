// One thread of the machine's limits: arithmetic in WASM, and copying in memory.
import { FLOPS_A_ROUND, peakModule } from '../peak-module.ts';

export interface Limits {
  /** Multiplications and additions per second. */
  flops: number;
  /** Bytes read and written per second. */
  bytes: number;
}

const ROUNDS = 2_000_000;
const COPIED_BYTES = 128 << 20;

self.onmessage = ({ data: forMs }: MessageEvent<number>) => {
  const { run } = new WebAssembly.Instance(new WebAssembly.Module(peakModule())).exports as {
    run(rounds: number): number;
  };
  const [from, to] = [new Uint8Array(COPIED_BYTES).fill(1), new Uint8Array(COPIED_BYTES)];
  run(ROUNDS);
  to.set(from);
  const limits: Limits = {
    flops: rate(forMs, ROUNDS * FLOPS_A_ROUND, () => run(ROUNDS)),
    bytes: rate(forMs, 2 * COPIED_BYTES, () => to.set(from)),
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
