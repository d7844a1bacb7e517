// Runs a program: a list of instructions in memory, each a few 32-bit words, written by
// src/runtime/simd. Every thread runs the same list; an instruction's work is dealt out in equal
// parts, and barrier instructions stand where a later one needs what an earlier one wrote.
import { layerNorm, rmsNorm, softmax, binary, copy, unary } from './pointwise';
import { attendScores, attendSoftmax, attendValues, columnOf } from './attention';
import { timesColumns, timesRows } from './dense';
import { narrow, RUN, widen } from './halves';
import { BYTES_14, BYTES_16, linear, linear32, NIBBLES_14, NIBBLES_16, NIBBLES_8 } from './linear';
import { rotate } from './rotary';
import { quantise14, quantise16, quantise8 } from './rounding';
import { SCRATCH_BYTES, setScratch } from './scratch';
import { word } from './words';

/** Bits of the activations that this module multiplies fastest. */
export const activationBits: i32 = ASC_FEATURE_RELAXED_SIMD ? 8 : 16;

/** Bits of those for which 8 are too few. Writes 16 bytes at `room`. */
export function wideBits(room: usize): i32 {
  return multipliesBytesAtOnce(room) ? 14 : 16;
}

/**
 * Whether the processor has one instruction for four products of bytes and their sum. Engines that make it of three
 * saturate pairs of products at 32,767, which bytes beyond 127 show; all else here gives the same on both.
 */
function multipliesBytesAtOnce(room: usize): bool {
  if (!ASC_FEATURE_RELAXED_SIMD) return false;
  // By way of memory: compilers must not compute with constants as they would.
  v128.store(room, i8x16.splat(-1));
  const sum = i32x4.relaxed_dot_i8x16_i7x16_add_s(i8x16.splat(127), v128.load(room), i32x4.splat(0));
  return i32x4.extract_lane(sum, 0) !== 2 * 32_767;
}

// Words of the control block, one cache line each.
const ARRIVED: usize = 0;
const ROUND: usize = 64;
const SLEEPERS: usize = 128;
const ORDER: usize = 192;
const PROGRAM: usize = 256;
/** From here each thread has scratch memory. */
const SCRATCH: usize = 1024;

/**
 * About 0.1 ms: longer than another thread needs for its part of an instruction, or to be woken. A token of SmolLM2-135M
 * on two threads takes 9.4 ms so, and 22 with 2,000 (each of 300 barriers sleeps).
 */
const SPINS: i32 = 100_000;

/** Waits until every thread has come here. Spins first: instructions are microseconds apart. */
function barrier(control: usize, threads: i32): void {
  if (threads === 1) return;
  const round = atomic.load<i32>(control + ROUND);
  if (atomic.add<i32>(control + ARRIVED, 1) + 1 === threads) {
    atomic.store<i32>(control + ARRIVED, 0);
    atomic.store<i32>(control + ROUND, round + 1);
    if (atomic.load<i32>(control + SLEEPERS) > 0) atomic.notify(control + ROUND, threads);
    return;
  }
  for (let i = 0; i < SPINS; i++) if (atomic.load<i32>(control + ROUND) !== round) return;
  atomic.add<i32>(control + SLEEPERS, 1);
  while (atomic.load<i32>(control + ROUND) === round) {
    atomic.wait<i32>(control + ROUND, round, -1);
  }
  atomic.sub<i32>(control + SLEEPERS, 1);
}

/** Orders that are no addresses. */
const END: usize = 0;
const REFRESH: usize = 1;

/**
 * What a helper thread does: waits for a program, runs its share, waits again. `order` counts the
 * programs it has seen. Returns −1 at END. Returns the count at REFRESH: the memory has grown, and
 * engines may check addresses against the size that they knew when they entered this function.
 */
export function serve(control: usize, thread: i32, threads: i32, order: i32): i32 {
  while (true) {
    for (let i = 0; i < SPINS; i++) if (atomic.load<i32>(control + ORDER) !== order) break;
    while (atomic.load<i32>(control + ORDER) === order) {
      atomic.wait<i32>(control + ORDER, order, -1);
    }
    order++;
    const program = <usize>atomic.load<i32>(control + PROGRAM);
    if (program === END) return -1;
    if (program === REFRESH) {
      barrier(control, threads);
      return order;
    }
    run(program, control, thread, threads);
  }
  return -1;
}

/** Runs a program on all threads; the caller is thread 0. END and REFRESH are for the helpers alone. */
export function start(program: usize, control: usize, threads: i32): void {
  if (threads > 1) {
    atomic.store<i32>(control + PROGRAM, <i32>program);
    atomic.add<i32>(control + ORDER, 1);
    atomic.notify(control + ORDER, threads);
  }
  if (program === REFRESH) barrier(control, threads);
  else if (program !== END) run(program, control, 0, threads);
}

/**
 * An instruction: code, its length in words, units of work, 1 when all threads share them, then its
 * own words. Code 0 ends the program.
 */
function run(program: usize, control: usize, thread: i32, threads: i32): void {
  let at = program;
  setScratch(control + SCRATCH + <usize>thread * SCRATCH_BYTES);
  for (;;) {
    const code = <i32>word(at, 0);
    if (code === 0) break;
    const work = word(at, 2);
    let from: usize = 0;
    let to = work;
    if (word(at, 3)) {
      from = (work * <usize>thread) / <usize>threads;
      to = (work * <usize>(thread + 1)) / <usize>threads;
    } else if (thread !== 0 && code !== 1) {
      to = 0;
    }
    if (code === 1) barrier(control, threads);
    else if (from < to) instruction(code, at + 16, from, to);
    at += word(at, 1) * 4;
  }
  barrier(control, threads);
}

function instruction(code: i32, at: usize, from: usize, to: usize): void {
  switch (code) {
    case 2:
      quantise16(word(at, 0), word(at, 1), word(at, 2), word(at, 3), from, to);
      break;
    case NIBBLES_16:
      ofNibbles(NIBBLES_16, at, from, to);
      break;
    case BYTES_16:
      ofBytes(BYTES_16, at, from, to);
      break;
    case 5:
      linear32(
        word(at, 0), word(at, 1), word(at, 3), word(at, 4), word(at, 5),
        word(at, 6), word(at, 7), word(at, 8), from, to,
      );
      break;
    case 6:
    case 7:
      product(code, at, from, to);
      break;
    case 8:
      unary(<i32>word(at, 0), word(at, 1), word(at, 2), from, to);
      break;
    case 9:
      binary(
        <i32>word(at, 0), word(at, 1), word(at, 2), word(at, 3), word(at, 4), word(at, 5),
        word(at, 6), at + 28, from, to,
      );
      break;
    case 10:
      copy(word(at, 0), word(at, 1), word(at, 2), word(at, 3), at + 16, from, to);
      break;
    case 11:
      softmax(word(at, 0), word(at, 1), word(at, 2), from, to);
      break;
    case 12:
      rmsNorm(word(at, 0), word(at, 1), word(at, 2), word(at, 3), load<f32>(at + 16), from, to);
      break;
    case 13:
      layerNorm(
        word(at, 0), word(at, 1), word(at, 2), word(at, 3), word(at, 4), load<f32>(at + 20), from, to,
      );
      break;
    case 16:
      attendScores<f32>(at, from, to);
      break;
    case 17:
      attendValues<f32>(at, from, to);
      break;
    case 18:
      attendSoftmax(at, from, to);
      break;
    case 19:
      attendScores<u16>(at, from, to);
      break;
    case 20:
      attendValues<u16>(at, from, to);
      break;
    case 21:
      narrow(word(at, 0), word(at, 1), from * RUN, min(to * RUN, word(at, 2)));
      break;
    case 22:
      widen(word(at, 0), word(at, 1), from * RUN, min(to * RUN, word(at, 2)));
      break;
    case 23:
      rotate(
        word(at, 0), word(at, 1), word(at, 2), word(at, 3), word(at, 4), word(at, 5), word(at, 6),
        word(at, 7), from, to,
      );
      break;
    default:
      if (ASC_FEATURE_RELAXED_SIMD) relaxedInstruction(code, at, from, to);
      else unreachable();
  }
}

function relaxedInstruction(code: i32, at: usize, from: usize, to: usize): void {
  switch (code) {
    case 14:
      quantise8(word(at, 0), word(at, 1), word(at, 2), word(at, 3), from, to);
      break;
    case 24:
      quantise14(word(at, 0), word(at, 1), word(at, 2), word(at, 3), from, to);
      break;
    case NIBBLES_14:
      ofNibbles(NIBBLES_14, at, from, to);
      break;
    case BYTES_14:
      ofBytes(BYTES_14, at, from, to);
      break;
    case NIBBLES_8:
      ofNibbles(NIBBLES_8, at, from, to);
      break;
    default:
      unreachable();
  }
}

// @ts-ignore: decorator
@inline
function ofNibbles(kind: i32, at: usize, from: usize, to: usize): void {
  linear(
    kind, word(at, 0), word(at, 1), word(at, 2), word(at, 3), word(at, 4), word(at, 5),
    word(at, 6), word(at, 7), word(at, 8), 32, true, from, to,
  );
}

// @ts-ignore: decorator
@inline
function ofBytes(kind: i32, at: usize, from: usize, to: usize): void {
  linear(
    kind, word(at, 0), word(at, 1), word(at, 2), word(at, 3), word(at, 4), word(at, 5),
    word(at, 6), word(at, 7), word(at, 8), word(at, 9), <bool>word(at, 10), from, to,
  );
}

/**
 * A batch of matrix products: a, b, out, addend, M, K, N, parts, then three batch axes as size, stride of a,
 * stride of b in bytes. Each matrix's columns are `parts` units of work.
 */
function product(code: i32, at: usize, from: usize, to: usize): void {
  const M = word(at, 4);
  const K = word(at, 5);
  const N = word(at, 6);
  const parts = word(at, 7);
  for (let unit = from; unit < to; unit++) {
    const index = unit / parts;
    const part = unit % parts;
    let rest = index;
    let a = word(at, 0);
    let b = word(at, 1);
    for (let d: i32 = 2; d >= 0; d--) {
      const axis = at + 32 + d * 12;
      const size = word(axis, 0);
      a += (rest % size) * word(axis, 1);
      b += (rest % size) * word(axis, 2);
      rest /= size;
    }
    const out = word(at, 2) + index * M * N * 4;
    const addend = word(at, 3) ? word(at, 3) + index * M * N * 4 : 0;
    const first = columnOf(N, parts, part, code === 6 ? 16 : 4);
    const last = columnOf(N, parts, part + 1, code === 6 ? 16 : 4);
    if (code === 6) timesRows<f32>(a, K * 4, b, N * 4, out, N * 4, addend, N * 4, M, K, first, last);
    else timesColumns<f32>(a, K * 4, b, out, N * 4, addend, N * 4, M, K, first, last);
  }
}
