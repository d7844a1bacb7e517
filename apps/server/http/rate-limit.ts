// How much one device or one network may ask: a bucket of tokens each that refills with time.
import { BlockList, isIP, isIPv6 } from 'node:net';
import type { Context, MiddlewareHandler } from 'hono';
import { RapportError } from '@rapport/core';
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

/**
 * Whose X-Forwarded-For is believed: this machine's, and that of the proxies in `list`, addresses or
 * networks (10.0.0.0/8) with commas between them. Throws `server/bad-proxy`.
 */
export function proxiesOf(list = ''): BlockList {
  const proxies = new BlockList();
  proxies.addSubnet('127.0.0.0', 8);
  proxies.addAddress('::1', 'ipv6');
  const entries = list.split(',').map((entry) => entry.trim());
  for (const entry of entries.filter(Boolean)) {
    const [, address = '', bits] = /^([^/]+)(?:\/(\d+))?$/.exec(entry) ?? [];
    try {
      if (bits) proxies.addSubnet(address, Number(bits), familyOf(address));
      else proxies.addAddress(address, familyOf(address));
    } catch (cause) {
      throw new RapportError(
        'server/bad-proxy',
        `${entry} is neither an address nor a network.`,
        'Set RAPPORT_PROXY to something like 192.0.2.7, 10.0.0.0/8.',
        { cause },
      );
    }
  }
  return proxies;
}

/** Finds out for each request from which network it comes, past `proxies`. */
export function noteNetwork(
  proxies: BlockList,
): MiddlewareHandler<{ Variables: { network: string } }> {
  return (c, next) => {
    c.set('network', prefixOf(addressOf(c, proxies)));
    return next();
  };
}

/** The network a request comes from: an IPv4 address, or the /64 of an IPv6 one. */
export const networkOf = (c: Context): string => c.get('network') as string;

/** Who asks. A proxy puts the address it saw last; what stands before that, anybody may have written. */
function addressOf(c: Context, proxies: BlockList): string {
  const bindings = c.env as { incoming?: { socket?: { remoteAddress?: string } } } | undefined;
  const peer = plain(bindings?.incoming?.socket?.remoteAddress ?? 'unknown');
  if (!isIP(peer) || !proxies.check(peer, familyOf(peer))) return peer;
  const forwarded = plain(c.req.header('x-forwarded-for')?.split(',').at(-1) ?? '');
  return isIP(forwarded) ? forwarded : peer;
}

/** An address without its zone, and an IPv4 one in IPv6 dress without that. */
const plain = (address: string) =>
  address
    .trim()
    .toLowerCase()
    .replace(/%.*/, '')
    .replace(/^::ffff:(?=[\d.]+$)/, '');

const familyOf = (address: string) => (isIPv6(address) ? 'ipv6' : 'ipv4');

function prefixOf(address: string): string {
  if (!isIPv6(address)) return address;
  const groups = (part = '') => part.split(':').filter(Boolean);
  const [before, after] = address.split('::');
  const [head, tail] = [groups(before), groups(after)];
  const zeros = Array.from({ length: 8 - head.length - tail.length }, () => '0');
  return [...head, ...zeros, ...tail].slice(0, 4).join(':');
}
