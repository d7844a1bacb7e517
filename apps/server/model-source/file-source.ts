// A file on this machine as a ByteSource: only the ranges asked for come into memory.
import { open } from 'node:fs/promises';
import type { ByteSource } from '@rapport/core';

/** A file opened for reading; close it when the checkpoint is no longer read. */
export interface FileSource extends ByteSource {
  close(): Promise<void>;
}

/** Opens `path`. Errors of the file system come through as they are. */
export async function openFile(path: string): Promise<FileSource> {
  const file = await open(path, 'r');
  const { size: sizeBytes } = await file.stat();
  return {
    sizeBytes,
    async read(offset, length) {
      const bytes = new Uint8Array(length);
      let filled = 0;
      while (filled < length) {
        const { bytesRead } = await file.read(bytes, filled, length - filled, offset + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return bytes.subarray(0, filled);
    },
    close: () => file.close(),
  };
}
