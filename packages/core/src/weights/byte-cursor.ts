// A forward reader over a ByteSource that holds one window of bytes at a time.
// Every length is compared with what is left of the file before anything is allocated.
import { RapportError } from '../error.ts';
import { readExactly, truncated, type ByteSource } from './byte-source.ts';

const windowBytes = 1 << 20;
/** Headers of real models take up to about 15 MB (256 k tokens and their merges). */
const maxHeaderBytes = 64 << 20;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Little-endian reads in file order. Call `need(bytes)` and await it when it returns a promise;
 * then that many bytes can be taken without waiting, which keeps 100,000 strings fast.
 */
export class ByteCursor {
  /** Entries of all lists that were announced. */
  listed = 0;
  readonly #source: ByteSource;
  #bytes: Uint8Array = new Uint8Array(0);
  #view = new DataView(this.#bytes.buffer);
  #start = 0;
  #at = 0;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** Offset in the file of the next byte. */
  get offset(): number {
    return this.#start + this.#at;
  }

  /** Bytes between here and the end of the file. */
  get leftBytes(): number {
    return this.#source.sizeBytes - this.offset;
  }

  /** Makes `length` bytes available; `what` names the part of the file in the error. */
  need(length: number, what: string): Promise<void> | undefined {
    if (this.#at + length <= this.#bytes.length) return undefined;
    if (length > this.leftBytes) throw truncated(what, length, this.leftBytes);
    if (this.offset + length > maxHeaderBytes) throw oversized(what, length);
    return this.#fill(length, what);
  }

  async #fill(length: number, what: string): Promise<void> {
    const start = this.offset;
    const wanted = Math.min(Math.max(length, windowBytes), this.#source.sizeBytes - start);
    this.#bytes = await readExactly(this.#source, start, wanted, what);
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
    this.#start = start;
    this.#at = 0;
  }

  /** Takes `width` bytes that `need` made available, as a view to read numbers from. */
  take<T>(width: number, read: (view: DataView, at: number) => T): T {
    const value = read(this.#view, this.#at);
    this.#at += width;
    return value;
  }

  /** Takes `length` bytes as UTF-8 text. */
  takeText(length: number, what: string): string {
    const bytes = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    try {
      return utf8.decode(bytes);
    } catch (cause) {
      throw new RapportError(
        'weights/not-utf8',
        `${what} at byte ${this.offset - length} is not UTF-8 text.`,
        'Use a file written by a current converter.',
        { cause },
      );
    }
  }

  /** A 64-bit length; lengths past 2^53 cannot be real. */
  takeLength(what: string): number {
    const length = this.take(8, (view, at) => view.getBigUint64(at, true));
    if (length > BigInt(Number.MAX_SAFE_INTEGER)) throw oversized(what, length);
    return Number(length);
  }
}

/** The error for a length or count that no real file has. */
export function oversized(what: string, value: number | bigint): RapportError {
  return new RapportError(
    'weights/oversized',
    `${what} claims a length of ${value}, more than any real file has.`,
    'Download the file again, or use another one: its header is damaged.',
  );
}
