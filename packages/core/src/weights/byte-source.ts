// Where weights come from: anything that can hand out a range of bytes.
// Files, OPFS and HTTP live with the platform; here are only the sources every platform has.
import { RapportError } from '../error.ts';
import { giveUp } from '../graph/tensor.ts';

/** Random access to bytes: a file, an OPFS handle, an HTTP range, an ArrayBuffer. */
export interface ByteSource {
  readonly sizeBytes: number;
  /** Resolves to exactly `length` bytes from `offset`, or rejects. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Takes back what it read for the caller alone, when that is not needed any more. */
  giveUp?(bytes: Uint8Array): void;
}

/** The part of `Blob` a source needs; a `File` from OPFS or a file input is one. */
interface BlobLike {
  readonly size: number;
  slice(start: number, end: number): { arrayBuffer(): Promise<ArrayBuffer> };
}

/** Bytes already in memory. Reads are views, not copies. */
export function bytesSource(bytes: Uint8Array): ByteSource {
  return {
    sizeBytes: bytes.byteLength,
    read: (offset, length) => Promise.resolve(bytes.subarray(offset, offset + length)),
  };
}

/** A Blob or File; each read brings only its own range into memory. */
export function blobSource(blob: BlobLike): ByteSource {
  return {
    sizeBytes: blob.size,
    read: async (offset, length) =>
      new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer()),
    giveUp,
  };
}

/**
 * Reads `length` bytes and checks that they all came.
 *
 * @throws RapportError `weights/truncated` when the range leaves the file or the source is short.
 */
export async function readExactly(
  source: ByteSource,
  offset: number,
  length: number,
  what: string,
): Promise<Uint8Array> {
  if (offset + length > source.sizeBytes) throw truncated(what, offset + length, source.sizeBytes);
  const bytes = await source.read(offset, length);
  if (bytes.byteLength !== length) throw truncated(what, length, bytes.byteLength);
  return bytes;
}

/** The error for a file that ends too early: `what` needed `neededBytes`, there are `foundBytes`. */
export function truncated(what: string, neededBytes: number, foundBytes: number): RapportError {
  return new RapportError(
    'weights/truncated',
    `The file ends inside ${what}: ${neededBytes} bytes were needed, ${foundBytes} are there.`,
    'Download the file again: it is incomplete.',
  );
}
