// The memory that kernels, their threads and JavaScript share, and who has which part of it.
import { RapportError } from '../../error.ts';

const PAGE = 65_536;
const LINE = 64;
/** Growing is rare and coarse, because every thread has to hear of it. */
const STEP = 16 * 1024 * 1024;

/** Byte ranges of a growing shared WebAssembly memory. Addresses are multiples of 64. */
export class SharedHeap {
  readonly memory: WebAssembly.Memory;
  #free: { at: number; size: number }[] = [];
  #sizes = new Map<number, number>();
  #end: number;
  readonly #buffers = new WeakSet<ArrayBufferLike>();

  /** @throws RapportError `runtime/memory` when the platform gives no shared memory. */
  constructor() {
    this.memory = sharedMemory();
    // The kernels' module keeps its few static bytes in the first page.
    this.#end = PAGE;
    this.#buffers.add(this.memory.buffer);
  }

  /** @throws RapportError `runtime/memory` when the platform has no more. */
  allocate(bytes: number): number {
    const size = Math.max(LINE, Math.ceil(bytes / LINE) * LINE);
    const hole = this.#free.findIndex((range) => range.size >= size);
    if (hole >= 0) {
      const range = this.#free[hole]!;
      const rest = range.size - size;
      if (rest > 0) this.#free[hole] = { at: range.at + size, size: rest };
      else this.#free.splice(hole, 1);
      this.#sizes.set(range.at, size);
      return range.at;
    }
    const at = this.#end;
    this.#reserve(at + size);
    this.#end = at + size;
    this.#sizes.set(at, size);
    return at;
  }

  free(at: number): void {
    const size = this.#sizes.get(at);
    if (size === undefined) return;
    this.#sizes.delete(at);
    this.#free.push({ at, size });
    this.#free.sort((a, b) => a.at - b.at);
    this.#free = this.#free.reduce<{ at: number; size: number }[]>((merged, range) => {
      const last = merged.at(-1);
      if (last && last.at + last.size === range.at) last.size += range.size;
      else merged.push({ ...range });
      return merged;
    }, []);
  }

  f32(at: number, length: number): Float32Array<ArrayBuffer> {
    return new Float32Array(this.memory.buffer, at, length);
  }

  u16(at: number, length: number): Uint16Array<ArrayBuffer> {
    return new Uint16Array(this.memory.buffer, at, length);
  }

  u32(at: number, length: number): Uint32Array<ArrayBuffer> {
    return new Uint32Array(this.memory.buffer, at, length);
  }

  u8(at: number, length: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.memory.buffer, at, length);
  }

  /** Whether an array lies in this memory. Each growth makes a new buffer object over the same bytes. */
  owns(array: ArrayBufferView): boolean {
    return this.#buffers.has(array.buffer);
  }

  #reserve(end: number): void {
    const missing = end - this.memory.buffer.byteLength;
    if (missing <= 0) return;
    try {
      this.memory.grow(Math.ceil(missing / STEP) * (STEP / PAGE));
      this.#buffers.add(this.memory.buffer);
    } catch (cause) {
      throw new RapportError(
        'runtime/memory',
        `The kernels need ${Math.ceil(end / 1e6)} MB and the device does not give them.`,
        'Close other tabs, or choose a smaller model.',
        { cause },
      );
    }
  }
}

function sharedMemory(): WebAssembly.Memory {
  // Phones refuse to reserve 4 GiB of addresses.
  for (const maximum of [65_536, 32_768, 16_384]) {
    try {
      return new WebAssembly.Memory({ initial: 16, maximum, shared: true });
    } catch {
      continue;
    }
  }
  throw new RapportError(
    'runtime/memory',
    'This browser has no shared WebAssembly memory.',
    'Use another backend, or a current browser.',
  );
}
