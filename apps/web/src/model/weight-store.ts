// Weights kept on the device under their sha256, in the origin's private file system. A file under
// its digest is whole and verified; one ending in `.part` is still arriving. Workers only.
import { RapportError } from '@rapport/core';
import type { Part } from './download.ts';

/** `weights` holds what the server gave, `personal` what was learned here. */
export type StoreFolder = 'weights' | 'personal';

/** The kept weights of this origin. */
export class WeightStore {
  readonly #folder: FileSystemDirectoryHandle;

  private constructor(folder: FileSystemDirectoryHandle) {
    this.#folder = folder;
  }

  /** Throws `model/no-storage` where the browser refuses to keep files. */
  static async open(folder: StoreFolder = 'weights'): Promise<WeightStore> {
    try {
      const root = await navigator.storage.getDirectory();
      return new WeightStore(await root.getDirectoryHandle(folder, { create: true }));
    } catch (cause) {
      throw noStorage(cause);
    }
  }

  /** The verified file with this digest, or undefined. */
  async find(digest: string): Promise<File | undefined> {
    try {
      return await (await this.#folder.getFileHandle(digest)).getFile();
    } catch (error) {
      if (error instanceof DOMException && error.name === 'NotFoundError') return undefined;
      throw error;
    }
  }

  /** Opens the arriving file for `digest`. Close it, or finish it, before it is opened again. */
  async part(digest: string): Promise<Part> {
    const handle = await this.#folder.getFileHandle(`${digest}.part`, { create: true });
    const access = await handle.createSyncAccessHandle();
    return {
      sizeBytes: () => access.getSize(),
      read(offset, length) {
        const bytes = new Uint8Array(length);
        return bytes.subarray(0, access.read(bytes, { at: offset }));
      },
      append(bytes) {
        const at = access.getSize();
        if (access.write(bytes as BufferSource, { at }) === bytes.length) return;
        // A full disk takes a part of the bytes without a word.
        access.truncate(at);
        throw new DOMException('Not all bytes could be written.', 'QuotaExceededError');
      },
      truncate: (sizeBytes) => access.truncate(sizeBytes),
      close() {
        access.flush();
        access.close();
      },
      async finish() {
        access.flush();
        access.close();
        await (handle as FileSystemFileHandle & { move(name: string): Promise<void> }).move(digest);
      },
    };
  }

  /** Removes every file whose digest is not in `digests`. */
  async keepOnly(digests: readonly string[]): Promise<void> {
    for await (const name of this.#folder.keys()) {
      if (!digests.includes(name.replace(/\.part$/, ''))) await this.#folder.removeEntry(name);
    }
  }
}

function noStorage(cause: unknown): RapportError {
  return new RapportError(
    'model/no-storage',
    'The browser gives this page no place to keep the model.',
    'Leave private mode, or allow this site to store data, and reload the page.',
    { cause },
  );
}
