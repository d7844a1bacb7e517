// A WASM module, put together byte by byte, that does nothing but multiply and add, or nothing but read: the most
// a thread of this machine's WASM can do (https://webassembly.github.io/spec/core/binary/).

/** Chains that do not wait for one another: enough to keep every arithmetic unit busy. */
const CHAINS = 12;
/** A multiplication and an addition of four floats in each chain. */
export const FLOPS_A_ROUND = CHAINS * 4 * 2;
/** What `read` can read: more than any cache of a processor holds. */
export const MEMORY_BYTES = 128 << 20;
const PAGE_BYTES = 1 << 16;

const [I32, F32, V128] = [0x7f, 0x7d, 0x7b];
const [CONST, ADD_I32, SUB_I32, LESS, BRANCH_IF, END] = [0x41, 0x6a, 0x6b, 0x49, 0x0d, 0x0b];
const get = (local: number) => [0x20, local];
const set = (local: number) => [0x21, local];
const tee = (local: number) => [0x22, local];
const simd = (code: number) => [0xfd, ...length(code)];
const [ADD, MUL, FIRST_LANE] = [simd(0xe4), simd(0xe6), [...simd(0x1f), 0]];
/** Sixteen bytes at the address on the stack and so many further. */
const load = (offset: number) => [...simd(0), 4, ...length(offset)];
const loop = (body: readonly number[]) => [0x03, 0x40, ...body, BRANCH_IF, 0, END];
/** First lane of the sum, given back: a clever compiler would leave out work that nobody sees. */
const sumOf = (locals: readonly number[]) => [
  ...get(locals[0]!),
  ...locals.slice(1).flatMap((local) => [...get(local), ...ADD]),
  ...FIRST_LANE,
];

/** Exports `multiply(rounds: i32): f32`, `read(bytes: i32): f32` (a multiple of 64) and `memory`. */
export function peakModule(): Uint8Array<ArrayBuffer> {
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 1, I32, 1, F32]),
    ...section(3, [2, 0, 0]),
    ...section(5, [1, 0, ...length(MEMORY_BYTES / PAGE_BYTES)]),
    ...section(7, [
      3,
      ...named('multiply', 0, 0),
      ...named('read', 0, 1),
      ...named('memory', 2, 0),
    ]),
    ...section(10, [2, ...sized(multiply()), ...sized(read())]),
  ]);
}

/** Local 0 counts down; then the chains, the factor and the term. */
function multiply(): number[] {
  const chains = Array.from({ length: CHAINS }, (_, i) => i + 1);
  const [factor, term] = [CHAINS + 1, CHAINS + 2];
  const round = chains.flatMap((chain) => [
    ...[...get(chain), ...get(factor), ...MUL],
    ...[...get(term), ...ADD, ...set(chain)],
  ]);
  const countDown = [...get(0), CONST, 1, SUB_I32, ...tee(0)];
  return [1, CHAINS + 2, V128, ...loop([...round, ...countDown]), ...sumOf(chains), END];
}

/** Local 0 is where to end, 1 where it is; then the sums. */
function read(): number[] {
  const sums = [2, 3, 4, 5];
  const block = sums.flatMap((sum, i) => [
    ...[...get(sum), ...get(1), ...load(16 * i), ...ADD, ...set(sum)],
  ]);
  const goOn = [...get(1), CONST, 0xc0, 0, ADD_I32, ...tee(1), ...get(0), LESS];
  return [2, 1, I32, 4, V128, ...loop([...block, ...goOn]), ...sumOf(sums), END];
}

const named = (name: string, kind: number, index: number): number[] => [
  ...sized([...new TextEncoder().encode(name)]),
  kind,
  index,
];
const section = (id: number, content: readonly number[]): number[] => [id, ...sized(content)];
const sized = (content: readonly number[]): number[] => [...length(content.length), ...content];

/** LEB128 without sign. */
function length(n: number): number[] {
  return n < 0x80 ? [n] : [(n & 0x7f) | 0x80, ...length(n >> 7)];
}
