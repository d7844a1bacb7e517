// Ed25519 signatures: by WebCrypto where the platform has them, by @noble/ed25519 elsewhere. Both
// follow RFC 8032, so a signature of one verifies with the other.
import * as noble from '@noble/ed25519';
import { sha256Hex, toHex } from './canonical.ts';

/** A key pair: 32 bytes each, as RFC 8032 has them. `id` is the sha256 of the public key. */
export interface KeyPair {
  readonly id: string;
  readonly publicKey: Uint8Array;
  readonly secretKey: Uint8Array;
}

/** A new key pair from the platform's randomness, or the one of `secretKey`. */
export async function keyPair(
  secretKey: Uint8Array = crypto.getRandomValues(new Uint8Array(32)),
): Promise<KeyPair> {
  const publicKey = await noble.getPublicKeyAsync(secretKey);
  return { id: await sha256Hex(publicKey), publicKey, secretKey };
}

/** The signature of `message` in hex, 64 bytes. */
export async function signBytes(message: Uint8Array, secretKey: Uint8Array): Promise<string> {
  return toHex(await noble.signAsync(message, secretKey));
}

/** Whether `signature` (64 bytes) is one of `message` by the holder of `publicKey` (32 bytes). Never throws. */
export async function verifyBytes(
  message: Uint8Array,
  signature: Uint8Array,
  publicKey: Uint8Array,
  subtle: SubtleCrypto | null = crypto.subtle,
): Promise<boolean> {
  const imported = await subtle
    ?.importKey('raw', publicKey as BufferSource, 'Ed25519', false, ['verify'])
    .catch(() => null);
  try {
    if (imported && subtle)
      return await subtle.verify(
        'Ed25519',
        imported,
        signature as BufferSource,
        message as BufferSource,
      );
    return await noble.verifyAsync(signature, message, publicKey);
  } catch {
    return false;
  }
}
