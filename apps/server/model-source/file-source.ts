// A file on this machine as a ByteSource: only the ranges asked for come into memory.
import { close, fstat, open, read } from 'node:fs';
import { promisify } from 'node:util';
import type { ByteSource } from '@rapport/core';

const [openAt, sizeAt, readAt] = [promisify(open), promisify(fstat), promisify(read)];
const forgotten = new FinalizationRegistry<number>((file) => close(file));

/** Opens `path`; it is closed when nobody holds the source any more. Errors of the file system come as they are. */
export async function openFile(path: string): Promise<ByteSource> {
  const file = await openAt(path, 'r');
  const { size: sizeBytes } = await sizeAt(file);
  const source: ByteSource = {
    sizeBytes,
    async read(offset, length) {
      // Naming the source keeps it, and so the file, until the read is done.
      const bytes = new Uint8Array(Math.max(0, Math.min(length, source.sizeBytes - offset)));
      let filled = 0;
      while (filled < bytes.length) {
        const place = offset + filled;
        const { bytesRead } = await readAt(file, bytes, filled, bytes.length - filled, place);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return bytes.subarray(0, filled);
    },
  };
  forgotten.register(source, file);
  return source;
}
