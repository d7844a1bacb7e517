// A WASM module, put together byte by byte, that does nothing but multiply and add four floats at a time: the
// most arithmetic a thread of this machine's WASM can do (https://webassembly.github.io/spec/core/binary/).

/** Chains that do not wait for one another: enough to keep every arithmetic unit busy. */
const CHAINS = 12;
/** A multiplication and an addition of four floats in each chain. */
export const FLOPS_A_ROUND = CHAINS * 4 * 2;

const [I32, F32, V128] = [0x7f, 0x7d, 0x7b];
const [FACTOR, TERM] = [CHAINS + 1, CHAINS + 2];
const get = (local: number) => [0x20, local];
const set = (local: number) => [0x21, local];
const simd = (code: number) => [0xfd, (code & 0x7f) | 0x80, code >> 7];
const [ADD, MUL] = [simd(0xe4), simd(0xe6)];

/** Exports `run(rounds: i32): f32`. */
export function peakModule(): Uint8Array<ArrayBuffer> {
  const chains = Array.from({ length: CHAINS }, (_, i) => i + 1);
  const round = chains.flatMap((chain) => [
    ...get(chain),
    ...get(FACTOR),
    ...MUL,
    ...get(TERM),
    ...ADD,
    ...set(chain),
  ]);
  const countDown = [...get(0), 0x41, 1, 0x6b, 0x22, 0];
  const loop = [0x03, 0x40, ...round, ...countDown, 0x0d, 0, 0x0b];
  // The sum is given back, or a clever compiler would leave out the work.
  const sum = [...get(1), ...chains.slice(1).flatMap((chain) => [...get(chain), ...ADD])];
  const firstLane = [0xfd, 0x1f, 0];
  const body = [1, CHAINS + 2, V128, ...loop, ...sum, ...firstLane, 0x0b];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 1, I32, 1, F32]),
    ...section(3, [1, 0]),
    ...section(7, [1, 3, ...new TextEncoder().encode('run'), 0x00, 0]),
    ...section(10, [1, ...sized(body)]),
  ]);
}

const section = (id: number, content: readonly number[]): number[] => [id, ...sized(content)];
const sized = (content: readonly number[]): number[] => [...length(content.length), ...content];
const length = (n: number): number[] => (n < 0x80 ? [n] : [(n & 0x7f) | 0x80, n >> 7]);
