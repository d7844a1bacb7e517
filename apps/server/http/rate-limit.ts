// How much one device or one network may ask: a bucket of tokens each that refills with time.
import type { Context } from 'hono';
import { Refusal } from './answer.ts';

const MOST_KEYS = 50_000;

/** Allows `burst` at once and `perMinute` in the long run, per key. */
export class RateLimit {
  readonly #buckets = new Map<string, { tokens: number; at: number }>();
  readonly #burst: number;
  readonly #perMs: number;
  readonly #now: () => number;

  constructor(limit: { burst: number; perMinute: number }, now = Date.now) {
    this.#burst = limit.burst;
    this.#perMs = limit.perMinute / 60_000;
    this.#now = now;
  }

  /** Takes one; throws a 429 refusal with Retry-After when there is none. */
  take(key: string): void {
    const now = this.#now();
    const before = this.#buckets.get(key) ?? { tokens: this.#burst, at: now };
    // A clock that was set back gives nothing, and takes nothing either.
    const passedMs = Math.max(0, now - before.at);
    const tokens = Math.min(this.#burst, before.tokens + passedMs * this.#perMs);
    // Put last again, so that the first keys are those not seen for longest.
    this.#buckets.delete(key);
    this.#buckets.set(key, { tokens: tokens >= 1 ? tokens - 1 : tokens, at: now });
    if (this.#buckets.size > MOST_KEYS) this.#buckets.delete(this.#buckets.keys().next().value!);
    if (tokens >= 1) return;
    const seconds = Math.ceil((1 - tokens) / this.#perMs / 1000);
    throw new Refusal(
      429,
      'request/too-many',
      'Too many requests.',
      `Wait ${seconds} s and try again.`,
      { 'Retry-After': String(seconds) },
    );
  }
}

/** The network a request comes from: an IPv4 address, or the /64 of an IPv6 one. */
export function networkOf(c: Context): string {
  const bindings = c.env as { incoming?: { socket?: { remoteAddress?: string } } } | undefined;
  const address = bindings?.incoming?.socket?.remoteAddress ?? 'unknown';
  if (!address.includes(':') || address.startsWith('::ffff:')) return address;
  return address.split(':').slice(0, 4).join(':');
}
