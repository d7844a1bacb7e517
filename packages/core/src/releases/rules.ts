// What a client accepts and which release it then speaks with. Pure functions of documents, a clock
// reading and a device id; fetching and storing are the caller's.
import { RapportError } from '../error.ts';
import { digestOf, sha256Hex } from './canonical.ts';
import {
  ChannelSchema,
  ReleaseSchema,
  RootSchema,
  type Channel,
  type Chunks,
  type Release,
  type Root,
} from './documents.ts';
import { parse, verifySigned } from './sign.ts';

/** No channel document may live longer. */
export const CHANNEL_LIFE_MS = 7 * 24 * 3_600_000;

/**
 * The root to pin after `envelope` arrived. Root N+1 is accepted only when signed by N and by itself;
 * the same version again must be the same document. With nothing pinned the first root is trusted
 * when it signed itself. Throws `releases/root-*`, `releases/unsigned`, `releases/malformed`.
 */
export async function acceptRoot(
  pinned: Root | null,
  envelope: unknown,
  now: number,
): Promise<Root> {
  const claimed = parse(RootSchema, (envelope as { signed?: unknown } | null)?.signed, 'root');
  const next = await verifySigned(envelope, RootSchema, 'root', claimed);
  if (next.expires <= now)
    throw new RapportError(
      'releases/root-expired',
      `Root ${next.version} has expired.`,
      'Keep the current model; the operator has to rotate the keys (rapport keys rotate).',
    );
  if (!pinned) return next;
  if (next.version === pinned.version && (await digestOf(next)) === (await digestOf(pinned)))
    return pinned;
  if (next.version !== pinned.version + 1)
    throw new RapportError(
      'releases/root-version',
      `Root ${next.version} cannot follow root ${pinned.version}.`,
      'Fetch the roots between them one by one from /v1/root/<version>.',
    );
  await verifySigned(envelope, RootSchema, 'root', pinned);
  return next;
}

/**
 * The channel document in `envelope`, when signed for `root`, living at most seven days, and not
 * older than `known`, the last one accepted. It may have expired: see `isStale`. Throws
 * `releases/channel-rollback`, `releases/channel-life`, `releases/unsigned`, `releases/malformed`.
 */
export async function acceptChannel(
  known: Channel | null,
  envelope: unknown,
  root: Root,
): Promise<Channel> {
  const next = await verifySigned(envelope, ChannelSchema, 'channel', root);
  if (next.expires - next.issued > CHANNEL_LIFE_MS || next.expires <= next.issued)
    throw new RapportError(
      'releases/channel-life',
      'The channel document claims to live longer than seven days, or not at all.',
      'Keep the current model; tell the operator of this server.',
    );
  if (!known || next.version > known.version) return next;
  if (next.version === known.version && (await digestOf(next)) === (await digestOf(known)))
    return known;
  throw new RapportError(
    'releases/channel-rollback',
    `Channel version ${next.version} does not rise above ${known.version}.`,
    'Keep the current model; the answer is old or was tampered with.',
  );
}

/**
 * The release in `envelope`, when its content hashes to `id` and it is signed for `root`. Throws
 * `releases/wrong-id`, `releases/unsigned`, `releases/malformed`.
 */
export async function acceptRelease(id: string, envelope: unknown, root: Root): Promise<Release> {
  const release = await verifySigned(envelope, ReleaseSchema, 'release', root);
  const met = await digestOf((envelope as { signed: unknown }).signed);
  if (met === id) return release;
  throw new RapportError(
    'releases/wrong-id',
    `Asked for release ${id}, got ${met}.`,
    'Keep the current model; the answer was tampered with.',
  );
}

/** An expired channel is not followed: the model stays, and the page says "updates stale". */
export const isStale = (channel: Channel, now: number): boolean => now >= channel.expires;

/** The place of a device in [0, 1): the first 32 bits of SHA-256(salt‖device) over 2³². */
export async function bucketOf(salt: string, device: string): Promise<number> {
  const hex = await sha256Hex(new TextEncoder().encode(salt + device));
  return parseInt(hex.slice(0, 8), 16) / 2 ** 32;
}

/**
 * The release a device should speak with, `base` for the bare model. `current` is what it speaks
 * with now; `failed` are releases that failed their golden test on this device: a failed stable
 * leaves the last known good. A frozen channel changes nothing but blocked releases.
 */
export function wantedRelease(
  channel: Channel,
  bucket: number,
  current = 'base',
  failed: ReadonlySet<string> = new Set(),
): string {
  const usable = (id: string) => !channel.blocked.includes(id) && !failed.has(id);
  if (channel.freeze && usable(current)) return current;
  const { candidate, stable } = channel;
  if (candidate && bucket < candidate.percent / 100 && usable(candidate.release))
    return candidate.release;
  if (usable(stable)) return stable;
  return failed.has(stable) && usable(current) ? current : 'base';
}

/**
 * Checks one piece of a download. Throws `releases/bad-chunk` naming it, so that only it is fetched
 * again.
 */
export async function verifyChunk(bytes: Uint8Array, index: number, chunks: Chunks): Promise<void> {
  const expected = chunks.sha256[index];
  if (bytes.length <= chunks.size && expected && (await sha256Hex(bytes)) === expected) return;
  throw new RapportError(
    'releases/bad-chunk',
    `Piece ${index} of the download does not have its sha256.`,
    'Fetch that piece again.',
  );
}

/** The chunk hashes of `bytes`. */
export async function chunksOf(bytes: Uint8Array, size = 1 << 20): Promise<Chunks> {
  const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
    sha256Hex(bytes.subarray(i * size, (i + 1) * size)),
  );
  return { size, sha256: await Promise.all(pieces) };
}
