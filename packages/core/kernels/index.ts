// Runs a program: a list of instructions in memory, each a few 32-bit words, written by
// src/runtime/simd. Thread 0 goes through it; where it opens a segment, the other threads help: each takes parts of its
// instructions' work until none are left. Barriers end a segment where a later instruction needs what an earlier one wrote.
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
/** Bits 0 to 7: helpers inside the open segment; bit 8: open; above: which segment it is, counted from the start. */
const STATE: usize = 0;
/** Threads that sleep until STATE changes. */
const SLEEPERS: usize = 64;
/** The first instruction of the open segment, or END. */
const SEGMENT: usize = 128;
/** How often the memory has grown. */
const GROWN: usize = 192;
/** From here each thread has scratch memory. */
const SCRATCH: usize = 1024;

const INSIDE: i32 = 0xff;
const OPEN: i32 = 0x100;
/** One segment more. */
const NEXT: i32 = 0x200;

/** A segment that is none: helpers end. */
const END: usize = 0;

/**
 * How often a thread looks before it sleeps, about 20 µs: longer than another needs for its part. Of SmolLM2-135M on two
 * cores come so 108 tokens a second, and 62 where another program keeps one core busy; with 100,000 108 and 52, with 5,000
 * 100 and 73.
 */
const SPINS: i32 = 20_000;

/**
 * Sleeps until the word at `at` is no longer `value`, or longer than that. JavaScript does it: in V8's first compiler an
 * atomic wait loses what a caller's variables hold (docs/log.md).
 */
@external("env", "wait")
declare function wait(at: usize, value: i32): void;

function sleep(control: usize, state: i32): void {
  atomic.add<i32>(control + SLEEPERS, 1);
  wait(control + STATE, state);
  atomic.sub<i32>(control + SLEEPERS, 1);
}

function wake(control: usize): void {
  if (atomic.load<i32>(control + SLEEPERS) > 0) atomic.notify(control + STATE, -1);
}

/** Lets helpers into the segment that begins at `at`. No segment is open, and none of them is inside. */
function open(control: usize, at: usize): void {
  for (let next = at; next !== END && word(next, 0) > BARRIER; next += word(next, 1) * 4) {
    if (word(next, 3)) atomic.store<i32>(next + TAKEN, 0);
  }
  atomic.store<i32>(control + SEGMENT, <i32>at);
  atomic.store<i32>(control + STATE, ((atomic.load<i32>(control + STATE) + NEXT) & ~INSIDE) | OPEN);
  wake(control);
}

/** Lets no more helpers in and waits for those inside. Spins first: they are microseconds from their end. */
function close(control: usize): void {
  let state = atomic.and<i32>(control + STATE, ~OPEN) & ~OPEN;
  for (let i = 0; state & INSIDE; i++) {
    if (i >= SPINS) sleep(control, state);
    state = atomic.load<i32>(control + STATE);
  }
}

/**
 * What a helper thread does: waits for a segment, takes parts of it, waits for the next. `grown` is how often the memory
 * had grown when this instance was made. Returns −1 at END, and the present count when the memory has grown: engines may
 * check addresses against the size that they knew when they entered this function.
 */
export function serve(control: usize, thread: i32, grown: i32): i32 {
  setScratch(control + SCRATCH + <usize>thread * SCRATCH_BYTES);
  const state = control + STATE;
  let seen: i32 = 0;
  let idle: i32 = 0;
  while (true) {
    const now = atomic.load<i32>(state);
    if (!(now & OPEN) || (now & ~INSIDE) === seen) {
      if (++idle > SPINS) {
        sleep(control, now);
        idle = 0;
      }
      continue;
    }
    if (atomic.cmpxchg<i32>(state, now, now + 1) !== now) continue;
    seen = now & ~INSIDE;
    idle = 0;
    const at = <usize>atomic.load<i32>(control + SEGMENT);
    const count = atomic.load<i32>(control + GROWN);
    if (at !== END && count === grown) segment(at);
    if ((atomic.sub<i32>(state, 1) & (INSIDE | OPEN)) === 1) wake(control);
    if (at === END) return -1;
    if (count !== grown) return count;
  }
  return -1;
}

/** Tells helpers that the memory has grown. */
export function refresh(control: usize): void {
  atomic.add<i32>(control + GROWN, 1);
}

/** Ends the helpers. */
export function end(control: usize): void {
  open(control, END);
}

// An instruction: code, its length in words, units of work, in how many parts threads share them (0: they do not), how many
// of those are taken, then its own words.
const TAKEN: usize = 16;
const WORDS: usize = 20;
/** Code 0 ends the program. */
const FINISH: usize = 0;
/** Code 1 ends a segment and begins the next; for work, it has whether threads share any of that. */
const BARRIER: usize = 1;

/** Runs a program on all threads; the caller is thread 0. */
export function start(program: usize, control: usize): void {
  setScratch(control + SCRATCH);
  let isOpen = false;
  for (let at = program; ; ) {
    const code = word(at, 0);
    const length = word(at, 1) * 4;
    if (code <= BARRIER) {
      if (isOpen) close(control);
      if (code === FINISH) break;
      isOpen = <bool>word(at, 2);
      if (isOpen) open(control, at + length);
    } else if (word(at, 3)) takeParts(at);
    else if (word(at, 2)) instruction(<i32>code, at + WORDS, 0, word(at, 2));
    at += length;
  }
}

/** Takes parts of what threads share of a segment. */
function segment(at: usize): void {
  for (; word(at, 0) > BARRIER; at += word(at, 1) * 4) if (word(at, 3)) takeParts(at);
}

/** Takes parts of an instruction until there are no more. */
function takeParts(at: usize): void {
  const work = word(at, 2);
  const parts = word(at, 3);
  while (true) {
    const part = <usize>atomic.add<i32>(at + TAKEN, 1);
    if (part >= parts) return;
    instruction(<i32>word(at, 0), at + WORDS, (work * part) / parts, (work * (part + 1)) / parts);
  }
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
