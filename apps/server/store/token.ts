// Opaque secrets: made from 256 random bits, kept only as their sha256.
import { createHash, randomBytes } from 'node:crypto';

/** A new secret for its holder. */
export const newToken = (): string => randomBytes(32).toString('base64url');

/** What is stored of it. */
export const hashToken = (token: string): string =>
  createHash('sha256').update(token).digest('hex');
