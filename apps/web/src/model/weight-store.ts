// Weights kept on the device under their sha256, in the origin's private file system. A file under
// its digest is whole and verified; one ending in `.part` is still arriving. Workers only.
import { RapportError } from '@rapport/core';
import type { Part } from './download.ts';

/** `weights` holds what the server gave, `personal` what was learned here. */
export type StoreFolder = 'weights' | 'personal';

/** A private window of Chromium forgets all files ten minutes after the last access (docs/log.md). */
const TOUCH_EVERY_MS = 4 * 60_000;

/** Keeps the files of this origin from being forgotten for as long as this worker lives. */
export function keepAwake(): void {
  setInterval(() => void WeightStore.open().catch(() => undefined), TOUCH_EVERY_MS);
}

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
      if (isNotFound(error)) return undefined;
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

  /** Removes every file whose digest is not in `digests`, except what another tab is writing or has removed. */
  async keepOnly(digests: readonly string[]): Promise<void> {
    const names: string[] = [];
    for await (const name of this.#folder.keys()) names.push(name);
    for (const name of names) {
      if (digests.includes(name.replace(/\.part$/, ''))) continue;
      await this.#folder.removeEntry(name).catch((error: unknown) => {
        if (!isNotFound(error) && !isLocked(error)) throw error;
      });
    }
  }
}

/** Whether the browser says that a file, opened earlier or not, is not there. */
export const isNotFound = (error: unknown): boolean =>
  error instanceof DOMException && error.name === 'NotFoundError';

const isLocked = (error: unknown): boolean =>
  error instanceof DOMException && error.name === 'NoModificationAllowedError';

function noStorage(cause: unknown): RapportError {
  return new RapportError(
    'model/no-storage',
    'The browser gives this page no place to keep the model.',
    'Leave private mode, or allow this site to store data, and reload the page.',
    { cause },
  );
}
