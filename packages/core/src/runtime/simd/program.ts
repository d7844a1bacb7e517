// Writes the instruction lists that kernels/index.ts runs, and puts barriers where threads must wait.
// It knows addresses and codes, not graphs.

/** Instruction codes of kernels/index.ts. */
export const CODE = {
  end: 0,
  barrier: 1,
  quantise16: 2,
  nibbles16: 3,
  bytes16: 4,
  linear32: 5,
  timesRows: 6,
  timesColumns: 7,
  unary: 8,
  binary: 9,
  copy: 10,
  softmax: 11,
  rmsNorm: 12,
  layerNorm: 13,
  quantise8: 14,
  nibbles8: 15,
  attendScores: 16,
  attendValues: 17,
  attendSoftmax: 18,
  attendScores16: 19,
  attendValues16: 20,
  narrow: 21,
  widen: 22,
  rotate: 23,
  quantise14: 24,
  nibbles14: 25,
  bytes14: 26,
} as const;

/** Bytes from `at` to `at + size`. */
export interface Range {
  readonly at: number;
  readonly size: number;
}

interface Instruction {
  readonly code: number;
  /** Units that can be dealt out to threads. */
  readonly work: number;
  /** Rough count of arithmetic operations: little work stays on one thread. */
  readonly cost: number;
  /** Units are few and large: each is a part by itself. */
  readonly isCoarse?: boolean;
  readonly words: readonly number[];
  readonly reads: readonly Range[];
  readonly writes: readonly Range[];
}

/** Below this many operations for each thread the others come too late to help, though they wait awake (measured on two). */
const WORTH_SHARING = 2_048;
/** And a part that is taken should hold this many. */
const WORTH_TAKING = 4_096;

/**
 * Into how many parts shared work is cut at most, and for each thread: a helper that comes late, or not at all, leaves its
 * parts to the others. SmolLM2-135M on two cores speaks 87 tokens a second with one part for each thread, 108 with four, 98
 * with eight, whose streams of weights are too short (docs/log.md).
 */
const PARTS = 8;
const PARTS_EACH = 2;

interface Pending {
  readonly shared: boolean;
  readonly reads: readonly Range[];
  readonly writes: readonly Range[];
}

/** A list of instructions for `threads` threads. */
export class Program {
  readonly #words: number[] = [];
  readonly #threads: number;
  #pending: Pending[] = [];
  /** Where the last barrier says whether threads share what follows. */
  #sharesAt = -1;

  constructor(threads: number) {
    this.#threads = threads;
  }

  add({ code, work, cost, isCoarse, words, reads, writes }: Instruction): void {
    const shared = this.#threads > 1 && work > 1 && cost >= WORTH_SHARING * this.#threads;
    const most = isCoarse ? work : Math.max(PARTS, PARTS_EACH * this.#threads);
    const worth = Math.min(most, Math.floor(cost / WORTH_TAKING));
    const parts = shared ? Math.min(work, Math.max(this.#threads, worth)) : 0;
    const next = { shared, reads, writes };
    if (this.#threads > 1) {
      if (this.isEmpty || this.#pending.some((earlier) => mustWait(earlier, next))) {
        this.#sharesAt = this.#words.push(CODE.barrier, 3, 0) - 1;
        this.#pending = [];
      }
      this.#pending.push(next);
      if (shared) this.#words[this.#sharesAt] = 1;
    }
    this.#words.push(code, words.length + 5, work, parts, 0, ...words);
  }

  get isEmpty(): boolean {
    return this.#words.length === 0;
  }

  finish(): Uint32Array {
    return Uint32Array.from([...this.#words, CODE.end, 2]);
  }
}

/** Instructions of one thread keep their order; across threads a common byte that one writes forces it. */
function mustWait(earlier: Pending, next: Pending): boolean {
  if (!earlier.shared && !next.shared) return false;
  return (
    meet(earlier.writes, next.reads) ||
    meet(earlier.writes, next.writes) ||
    meet(earlier.reads, next.writes)
  );
}

const meet = (a: readonly Range[], b: readonly Range[]): boolean =>
  a.some((x) => b.some((y) => x.at < y.at + y.size && y.at < x.at + x.size));

/** The bits of an fp32 number as a word. */
export const floatWord = (x: number): number => new Uint32Array(Float32Array.of(x).buffer)[0]!;
