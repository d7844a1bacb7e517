// One spelling per JSON value (RFC 8785), so that the same document has the same sha256 everywhere.
import { assert } from '../error.ts';

/**
 * JSON with sorted keys and no spaces (RFC 8785, https://www.rfc-editor.org/rfc/rfc8785). Members
 * that are `undefined` are left out, as in `JSON.stringify`; numbers must be finite.
 */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value))
    return `[${value.map((item) => canonicalJson(item ?? null)).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`);
    return `{${members.join(',')}}`;
  }
  assert(
    value === null || ['boolean', 'string'].includes(typeof value) || Number.isFinite(value),
    `${String(value)} has no JSON`,
  );
  return JSON.stringify(value);
}

/** The UTF-8 bytes of the canonical JSON of `value`. */
export const canonicalBytes = (value: unknown): Uint8Array<ArrayBuffer> =>
  new TextEncoder().encode(canonicalJson(value));

/** The sha256 of bytes in lower-case hex. */
export async function sha256Hex(bytes: Uint8Array): Promise<string> {
  return toHex(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as BufferSource)));
}

/** The sha256 of the canonical JSON of `value`: the id of an immutable document. */
export const digestOf = (value: unknown): Promise<string> => sha256Hex(canonicalBytes(value));

export const toHex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** Bytes of even-length hex; anything else gives no bytes at all. */
export function fromHex(hex: string): Uint8Array<ArrayBuffer> {
  if (!/^([0-9a-f]{2})*$/.test(hex)) return new Uint8Array(0);
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}
