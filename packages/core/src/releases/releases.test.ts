import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { canonicalJson, digestOf, fromHex, sha256Hex, toHex } from './canonical.ts';
import type { Channel, Release, Root, Signed } from './documents.ts';
import { keyPair, signBytes, verifyBytes, type KeyPair } from './ed25519.ts';
import {
  acceptChannel,
  acceptRelease,
  acceptRoot,
  bucketOf,
  chunksOf,
  isStale,
  verifyChunk,
  wantedRelease,
} from './rules.ts';
import { signDocument } from './sign.ts';

const NOW = 1_800_000_000_000;
const DAY = 24 * 3_600_000;
const coded = (code: string) => expect.objectContaining({ code });

describe('canonical JSON', () => {
  test('key order and spaces do not matter, content does', async () => {
    expect(canonicalJson({ b: [1, { d: null, c: 'é' }], a: 1e21, x: undefined })).toBe(
      '{"a":1e+21,"b":[1,{"c":"é","d":null}]}',
    );
    expect(await digestOf({ a: 1, b: 2 })).toBe(await digestOf({ b: 2, a: 1 }));
    expect(await digestOf({ a: 1 })).not.toBe(await digestOf({ a: 2 }));
  });

  test('reading it back gives the value', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  test('what has no JSON is a bug of ours', () => {
    expect(() => canonicalJson({ a: NaN })).toThrow('NaN');
  });
});

describe('Ed25519', () => {
  // RFC 8032, section 7.1, test 2.
  const secret = fromHex('4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb');
  const publicHex = '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c';
  const signature =
    '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da' +
    '085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00';
  const message = fromHex('72');

  test('signs as RFC 8032 says', async () => {
    const keys = await keyPair(secret);
    expect(toHex(keys.publicKey)).toBe(publicHex);
    expect(await signBytes(message, secret)).toBe(signature);
  });

  test.each([
    ['the platform', crypto.subtle],
    ['@noble/ed25519', null],
  ])('%s verifies the signature and no other', async (_who, subtle) => {
    const check = (hex: string, said = message) =>
      verifyBytes(said, fromHex(hex), fromHex(publicHex), subtle);
    expect(await check(signature)).toBe(true);
    expect(await check(signature, fromHex('73'))).toBe(false);
    expect(await check(signature.replace('92', '93'))).toBe(false);
    expect(await check('00')).toBe(false);
    expect(await verifyBytes(message, fromHex(signature), fromHex('00'), subtle)).toBe(false);
  });
});

interface Keys {
  root: KeyPair;
  release: KeyPair;
  channel: KeyPair;
}
const newKeys = async (): Promise<Keys> => ({
  root: await keyPair(),
  release: await keyPair(),
  channel: await keyPair(),
});
const rootOf = (version: number, keys: Keys): Root => ({
  version,
  keys: Object.fromEntries(Object.values(keys).map((k: KeyPair) => [k.id, toHex(k.publicKey)])),
  roles: {
    root: { keys: [keys.root.id], threshold: 1 },
    release: { keys: [keys.release.id], threshold: 1 },
    channel: { keys: [keys.channel.id], threshold: 1 },
  },
  expires: NOW + 365 * DAY,
});

describe('what a client accepts', () => {
  let keys: Keys;
  let root: Root;
  let signedRoot: Signed<Root>;
  const channelOf = (more: Partial<Channel> = {}): Channel => ({
    name: 'main',
    version: 3,
    issued: NOW,
    expires: NOW + DAY,
    stable: 'base',
    blocked: [],
    freeze: false,
    ...more,
  });
  const signChannel = (channel: Channel) => signDocument(channel, [keys.channel]);

  beforeAll(async () => {
    keys = await newKeys();
    root = rootOf(1, keys);
    signedRoot = await signDocument(root, [keys.root]);
  });

  test('the first root must sign itself', async () => {
    expect(await acceptRoot(null, signedRoot, NOW)).toEqual(root);
    const other = await newKeys();
    const forged = await signDocument(root, [other.root]);
    await expect(acceptRoot(null, forged, NOW)).rejects.toThrow(coded('releases/unsigned'));
  });

  test('root N+1 needs the signatures of N and of N+1', async () => {
    const newer = await newKeys();
    const next = rootOf(2, newer);
    const both = await signDocument(next, [keys.root, newer.root]);
    expect(await acceptRoot(root, both, NOW)).toEqual(next);
    for (const alone of [keys.root, newer.root]) {
      const half = await signDocument(next, [alone]);
      await expect(acceptRoot(root, half, NOW)).rejects.toThrow(coded('releases/unsigned'));
    }
    const leap = await signDocument(rootOf(3, newer), [keys.root, newer.root]);
    await expect(acceptRoot(root, leap, NOW)).rejects.toThrow(coded('releases/root-version'));
  });

  test('an expired root and another root of the same version are refused', async () => {
    await expect(acceptRoot(null, signedRoot, root.expires)).rejects.toThrow(
      coded('releases/root-expired'),
    );
    const twin = await signDocument({ ...root, expires: root.expires + 1 }, [keys.root]);
    await expect(acceptRoot(root, twin, NOW)).rejects.toThrow(coded('releases/root-version'));
    expect(await acceptRoot(root, signedRoot, NOW)).toEqual(root);
  });

  test('the channel version must rise', async () => {
    const known = channelOf();
    const newer = await signChannel(channelOf({ version: 4 }));
    expect((await acceptChannel(known, newer, root)).version).toBe(4);
    expect(await acceptChannel(known, await signChannel(known), root)).toEqual(known);
    for (const old of [channelOf({ version: 2 }), channelOf({ freeze: true })])
      await expect(acceptChannel(known, await signChannel(old), root)).rejects.toThrow(
        coded('releases/channel-rollback'),
      );
  });

  test('a channel signed by the key of another role is refused', async () => {
    const wrong = await signDocument(channelOf(), [keys.release, keys.root]);
    await expect(acceptChannel(null, wrong, root)).rejects.toThrow(coded('releases/unsigned'));
  });

  test('a channel may live seven days at most, and is stale afterwards', async () => {
    const long = await signChannel(channelOf({ expires: NOW + 7 * DAY + 1 }));
    await expect(acceptChannel(null, long, root)).rejects.toThrow(coded('releases/channel-life'));
    expect(isStale(channelOf(), NOW + DAY - 1)).toBe(false);
    expect(isStale(channelOf(), NOW + DAY)).toBe(true);
  });

  test('a flipped bit anywhere in a signed document is refused', async () => {
    const text = JSON.stringify(await signChannel(channelOf()));
    await fc.assert(
      fc.asyncProperty(fc.nat(text.length - 1), fc.nat(6), async (at, bit) => {
        const flipped = String.fromCharCode(text.charCodeAt(at) ^ (1 << bit));
        const damaged = text.slice(0, at) + flipped + text.slice(at + 1);
        let read: unknown;
        try {
          read = JSON.parse(damaged);
        } catch {
          return;
        }
        await expect(acceptChannel(null, read, root)).rejects.toThrow();
      }),
    );
  });

  test('a release must be the one asked for', async () => {
    const bytes = new Uint8Array(10);
    const digest = await sha256Hex(bytes);
    const chunks = await chunksOf(bytes);
    const file = { name: 'm.gguf', digest, sizeBytes: 10, chunks };
    const release: Release = {
      base: { name: 'm', format: 'gguf', digest, files: [file] },
      tokenizer: { digest },
      chunks,
      evaluation: { winRate: 0.6 },
      dataset: { digest, count: 3, devices: 1 },
      parents: [],
    };
    const signed = await signDocument(release, [keys.release]);
    expect(await acceptRelease(await digestOf(release), signed, root)).toEqual(release);
    await expect(acceptRelease(digest, signed, root)).rejects.toThrow(coded('releases/wrong-id'));
    await expect(acceptRelease(digest, { ...signed, signatures: [] }, root)).rejects.toThrow(
      coded('releases/unsigned'),
    );
  });
});

describe('which release a device speaks with', () => {
  const [a, b] = ['a'.repeat(64), 'b'.repeat(64)];
  const channel: Channel = {
    name: 'main',
    version: 1,
    issued: 0,
    expires: 1,
    stable: a,
    candidate: { release: b, percent: 25, salt: 's' },
    blocked: [],
    freeze: false,
  };

  test('the candidate for its share, stable for the others', () => {
    expect(wantedRelease(channel, 0.2499)).toBe(b);
    expect(wantedRelease(channel, 0.25)).toBe(a);
  });

  test('blocked or failed falls to stable, then to the bare base', () => {
    expect(wantedRelease({ ...channel, blocked: [b] }, 0)).toBe(a);
    expect(wantedRelease({ ...channel, blocked: [a, b] }, 0, a)).toBe('base');
    expect(wantedRelease(channel, 0, 'base', new Set([b]))).toBe(a);
  });

  test('a failed stable leaves the last known good', () => {
    const good = 'c'.repeat(64);
    expect(wantedRelease(channel, 0.9, good, new Set([a]))).toBe(good);
    expect(wantedRelease({ ...channel, blocked: [good] }, 0.9, good, new Set([a]))).toBe('base');
  });

  test('a frozen channel changes nothing but what is blocked', () => {
    expect(wantedRelease({ ...channel, freeze: true }, 0, a)).toBe(a);
    expect(wantedRelease({ ...channel, freeze: true, blocked: [b] }, 0, b)).toBe(a);
  });

  test('buckets are even, and differ by salt', async () => {
    const many = await Promise.all(
      Array.from({ length: 2000 }, (_, i) => bucketOf('salt', `device-${i}`)),
    );
    const share = many.filter((bucket) => bucket < 0.25).length / many.length;
    expect(share).toBeGreaterThan(0.21);
    expect(share).toBeLessThan(0.29);
    expect(await bucketOf('salt', 'd')).not.toBe(await bucketOf('pepper', 'd'));
  });
});

test('a bad piece of a download is found and named', async () => {
  const bytes = crypto.getRandomValues(new Uint8Array(2500));
  const chunks = await chunksOf(bytes, 1000);
  expect(chunks.sha256).toHaveLength(3);
  await verifyChunk(bytes.subarray(2000), 2, chunks);
  await expect(verifyChunk(bytes.subarray(1000, 2000), 0, chunks)).rejects.toThrow(
    coded('releases/bad-chunk'),
  );
  await expect(verifyChunk(bytes.subarray(0, 10), 9, chunks)).rejects.toThrow('Piece 9');
});
