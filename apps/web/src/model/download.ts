// Brings one file here by digest: resumes, verifies each piece on arrival, keeps nothing unverified.
// It knows neither the network nor the disk: both are passed in.
import { RapportError, sha256Hex } from '@rapport/core';
import type { FetchProgress, ModelFile } from '../workers/inference.ts';

/** A file that is still arriving; what it holds was verified when it was appended. */
export interface Part {
  sizeBytes(): number;
  read(offset: number, length: number): Uint8Array;
  append(bytes: Uint8Array): void;
  truncate(sizeBytes: number): void;
  close(): void;
  /** Gives the file its final name. Nothing may be called afterwards. */
  finish(): Promise<void>;
}

export interface Surroundings {
  fetch: typeof globalThis.fetch;
  /** Resolves after `ms`, sooner when the network is back; rejects when `signal` aborts. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
  random(): number;
}

const CHUNK_BYTES = 1 << 20;
const FAILURES_IN_A_ROW = 8;
const RETRY_MS = { first: 500, most: 30_000 };

/**
 * Downloads `file` from `url` into `part`, yielding how far it is, and finishes the part.
 * Throws `model/wrong-bytes` when the server keeps sending what the digest denies, `model/unreachable`
 * after repeated failures, `model/too-little-space`, and AbortError; the part is then kept for later.
 */
export async function* download(
  file: ModelFile,
  url: string,
  part: Part,
  { fetch, wait, random }: Surroundings,
  signal: AbortSignal,
): AsyncGenerator<FetchProgress, void> {
  let finished = false;
  try {
    await dropUnverified(file, part);
    const startBytes = part.sizeBytes();
    const progress = (): FetchProgress => ({
      receivedBytes: part.sizeBytes(),
      totalBytes: file.sizeBytes,
      freshBytes: part.sizeBytes() - startBytes,
    });
    yield progress();
    for (let failures = 0; part.sizeBytes() < file.sizeBytes;) {
      const before = part.sizeBytes();
      try {
        for await (const chunk of requestChunks(file, url, before, fetch, signal)) {
          await verify(file, part.sizeBytes(), chunk);
          append(part, chunk);
          yield progress();
        }
      } catch (error) {
        if (signal.aborted || !isPassing(error)) throw error;
        failures = part.sizeBytes() > before ? 1 : failures + 1;
        if (failures >= FAILURES_IN_A_ROW) throw unreachable(file, error);
        const waitingMs = random() * Math.min(RETRY_MS.most, RETRY_MS.first * 2 ** failures);
        yield { ...progress(), waitingMs };
        await wait(waitingMs, signal);
      }
    }
    await verifyWhole(file, part);
    await part.finish();
    finished = true;
  } finally {
    if (!finished) part.close();
  }
}

/** The rest of the file from `offset`, cut at the chunk borders. */
async function* requestChunks(
  file: ModelFile,
  url: string,
  offset: number,
  fetch: Surroundings['fetch'],
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const headers: Record<string, string> = offset > 0 ? { Range: `bytes=${offset}-` } : {};
  const response = await fetch(url, { headers, signal, cache: 'no-store' });
  if (!response.ok || !response.body) throw refused(file, response);
  let skip = offset > 0 && response.status === 200 ? offset : 0;
  const size = file.chunks?.size ?? CHUNK_BYTES;
  let chunk = new Uint8Array(Math.min(size, file.sizeBytes - offset));
  let filled = 0;
  for await (let bytes of chunksOf(response.body)) {
    const skipped = Math.min(skip, bytes.length);
    skip -= skipped;
    bytes = bytes.subarray(skipped);
    while (bytes.length > 0 && chunk.length > 0) {
      const taken = bytes.subarray(0, chunk.length - filled);
      chunk.set(taken, filled);
      filled += taken.length;
      bytes = bytes.subarray(taken.length);
      if (filled < chunk.length) continue;
      yield chunk;
      offset += chunk.length;
      chunk = new Uint8Array(Math.min(size, file.sizeBytes - offset));
      filled = 0;
    }
  }
  if (offset < file.sizeBytes) throw new CutOff();
}

// Safari cannot iterate a ReadableStream yet.
async function* chunksOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  try {
    for (let step = await reader.read(); !step.done; step = await reader.read()) yield step.value;
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** Cuts a part back to its verified whole chunks: a crash may have torn the last write. */
async function dropUnverified(file: ModelFile, part: Part): Promise<void> {
  const size = file.chunks?.size ?? CHUNK_BYTES;
  const held = Math.min(part.sizeBytes(), file.sizeBytes);
  let good = 0;
  while (good < held) {
    const end = Math.min(good + size, file.sizeBytes);
    if (end > held) break;
    if (file.chunks && !(await matches(file, good, part.read(good, end - good)))) break;
    good = end;
  }
  if (good !== part.sizeBytes()) part.truncate(good);
}

async function verify(file: ModelFile, offset: number, chunk: Uint8Array): Promise<void> {
  if (file.chunks && !(await matches(file, offset, chunk))) throw new WrongBytes(file, offset);
}

async function matches(file: ModelFile, offset: number, chunk: Uint8Array): Promise<boolean> {
  const { size, sha256 } = file.chunks!;
  return (await sha256Hex(chunk)) === sha256[offset / size];
}

async function verifyWhole(file: ModelFile, part: Part): Promise<void> {
  if (file.chunks) return;
  if ((await sha256Hex(part.read(0, file.sizeBytes))) === file.digest) return;
  part.truncate(0);
  throw new WrongBytes(file, 0);
}

class CutOff extends Error {}

class WrongBytes extends RapportError {
  constructor(file: ModelFile, offset: number) {
    super(
      'model/wrong-bytes',
      `${file.name}: the bytes from ${offset} do not match their sha256.`,
      'Try again; if it persists, the server holds a damaged file.',
    );
  }
}

/** Worth another try: the connection broke, the server is busy, or a chunk arrived damaged. */
function isPassing(error: unknown): boolean {
  if (error instanceof RapportError)
    return ['model/busy', 'model/wrong-bytes'].includes(error.code);
  return error instanceof CutOff || error instanceof TypeError;
}

function refused(file: ModelFile, response: Response): RapportError {
  const busy = response.status >= 500 || response.status === 429;
  return new RapportError(
    busy ? 'model/busy' : 'model/refused',
    `The server answered ${response.status} for ${file.name}.`,
    busy ? 'Try again in a minute.' : 'Ask the operator of this server whether the model is there.',
  );
}

function unreachable(file: ModelFile, cause: unknown): RapportError {
  if (cause instanceof RapportError) return cause;
  return new RapportError(
    'model/unreachable',
    `${file.name} stopped arriving ${FAILURES_IN_A_ROW} times in a row.`,
    'Check the connection and resume: what has arrived is kept.',
    { cause },
  );
}

function append(part: Part, chunk: Uint8Array): void {
  try {
    part.append(chunk);
  } catch (cause) {
    throw new RapportError(
      'model/too-little-space',
      'The browser has no room for the model.',
      'Free some disk space and resume.',
      { cause },
    );
  }
}
