// Identifiers that sort by the time they were made.
import { createHash, randomBytes } from 'node:crypto';

/** A UUID version 7 (RFC 9562). */
export function uuidv7(now = Date.now()): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(now, 0, 6);
  return spell(bytes, 0x70);
}

/** The same UUID (version 8) for the same text: repeats of an import keep their ids. */
export const uuidOf = (text: string): string =>
  spell(createHash('sha256').update(text).digest().subarray(0, 16), 0x80);

function spell(bytes: Buffer, version: number): string {
  bytes[6] = (bytes[6]! & 0x0f) | version;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
