// Files by the sha256 of their content: weights and adapters. A blob lies in the blob folder, or is
// registered where it already lies (a downloaded model is not copied).
import { createHash } from 'node:crypto';
import { createReadStream, type Stats } from 'node:fs';
import { mkdir, open, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { RapportError, type BlobFile, type Chunks } from '@rapport/core';
import type { Database } from './database.ts';
import type { BlobTable } from './schema.ts';
import { writeWhole } from './write-whole.ts';

const CHUNK_BYTES = 1 << 20;

/** A blob that can be served. */
export interface Blob {
  path: string;
  size: number;
}

export class Blobs {
  readonly #db: Database;
  readonly #folder: string;

  constructor(db: Database, dataFolder: string) {
    this.#db = db;
    this.#folder = join(dataFolder, 'blobs');
  }

  /** Keeps `bytes`: durable, and under its digest only once all of it is there. */
  async put(bytes: Uint8Array, name: string): Promise<BlobFile> {
    const { digest, chunks } = hashChunks(bytes);
    await mkdir(this.#folder, { recursive: true });
    const path = join(this.#folder, digest);
    await writeWhole(path, bytes);
    const size = bytes.length;
    await this.#register({ digest, path: null, size, modified_at: null }, chunks);
    return { name, digest, sizeBytes: size, chunks };
  }

  /** Registers a file where it lies; it is hashed once, and anew after it was written again. */
  async adopt(path: string, name = basename(path)): Promise<BlobFile> {
    const found = await stat(path);
    const { size } = found;
    const known = await this.#db
      .selectFrom('blobs')
      .selectAll()
      .where('path', '=', path)
      .where('size', '=', size)
      .where('modified_at', '=', timeOf(found))
      .executeTakeFirst();
    if (known)
      return {
        name,
        digest: known.digest,
        sizeBytes: size,
        chunks: JSON.parse(known.chunks) as Chunks,
      };
    const { digest, chunks } = await hashFile(path);
    await this.#register({ digest, path, size, modified_at: timeOf(found) }, chunks);
    return { name, digest, sizeBytes: size, chunks };
  }

  /** Where a blob lies, or undefined when it is unknown, or its file is gone or another by now. */
  async find(digest: string): Promise<Blob | undefined> {
    const row = await this.#db
      .selectFrom('blobs')
      .select(['path', 'size', 'modified_at'])
      .where('digest', '=', digest)
      .executeTakeFirst();
    if (!row) return undefined;
    const path = row.path ?? join(this.#folder, digest);
    const found = await stat(path).catch(() => undefined);
    if (!found || found.size !== row.size) return undefined;
    const known = row.path === null || row.modified_at === timeOf(found);
    if (!known && (await this.adopt(path)).digest !== digest) return undefined;
    return { path, size: row.size };
  }

  /** Like `find`; throws `blob/missing`. */
  async need(digest: string): Promise<Blob> {
    const blob = await this.find(digest);
    if (blob) return blob;
    throw new RapportError(
      'blob/missing',
      `The file ${digest} is not on this server any more.`,
      'Restore it from a backup, or build the release again.',
    );
  }

  async #register(row: Omit<BlobTable, 'chunks'>, chunks: Chunks) {
    const { path, size, modified_at } = row;
    await this.#db
      .insertInto('blobs')
      .values({ ...row, chunks: JSON.stringify(chunks) })
      .onConflict((conflict) => conflict.column('digest').doUpdateSet({ path, size, modified_at }))
      .execute();
  }
}

/** When a file was last written, in whole milliseconds since 1970. */
const timeOf = ({ mtimeMs }: Stats) => Math.trunc(mtimeMs);

function hashChunks(bytes: Uint8Array): { digest: string; chunks: Chunks } {
  const sha256: string[] = [];
  for (let from = 0; from < bytes.length; from += CHUNK_BYTES)
    sha256.push(sha256Of(bytes.subarray(from, from + CHUNK_BYTES)));
  return { digest: sha256Of(bytes), chunks: { size: CHUNK_BYTES, sha256 } };
}

const sha256Of = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

async function hashFile(path: string): Promise<{ digest: string; chunks: Chunks }> {
  const whole = createHash('sha256');
  const sha256: string[] = [];
  const file = await open(path, 'r');
  try {
    const buffer = Buffer.alloc(CHUNK_BYTES);
    for (let at = 0; ;) {
      const { bytesRead } = await file.read(buffer, 0, CHUNK_BYTES, at);
      if (bytesRead === 0) break;
      const piece = buffer.subarray(0, bytesRead);
      whole.update(piece);
      sha256.push(sha256Of(piece));
      at += bytesRead;
      // A short read in the middle of a file would shift every chunk after it.
      if (bytesRead < CHUNK_BYTES && at < (await file.stat()).size)
        throw new Error(`short read of ${path}`);
    }
  } finally {
    await file.close();
  }
  return { digest: whole.digest('hex'), chunks: { size: CHUNK_BYTES, sha256 } };
}

/** The bytes of a blob from `start` to `end`, both inclusive. */
export const readBlob = ({ path }: Blob, start: number, end: number) =>
  createReadStream(path, { start, end, highWaterMark: 1 << 18 });
