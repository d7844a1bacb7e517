// Which release a device should answer with, by the client rules of the channel. Pure.

/** What the rules need of a verified channel document. */
export interface ChannelFacts {
  stable: string;
  candidate?: { release: string; percent: number } | undefined;
  blocked: readonly string[];
  /** Milliseconds since 1970. */
  expires: number;
}

/** The bare model. */
export const BASE = 'base';

/**
 * The release this device should answer with. `bucket` is its place in [0, 1) under the candidate's
 * salt; `failed` are releases that failed their golden test here; `current` speaks now. A blocked or
 * failed candidate falls to stable; a failed stable to the last known good; a blocked one to the base.
 */
export function wantedRelease(
  channel: ChannelFacts,
  bucket: number,
  failed: ReadonlySet<string>,
  current: string = BASE,
): string {
  const usable = (id: string) => !channel.blocked.includes(id) && !failed.has(id);
  const { candidate, stable } = channel;
  const drawn = candidate && bucket < candidate.percent / 100;
  if (drawn && usable(candidate.release)) return candidate.release;
  if (usable(stable)) return stable;
  return failed.has(stable) && usable(current) ? current : BASE;
}

/** An expired channel is not followed: the model stays, and the page says that updates are stale. */
export const isStale = (channel: ChannelFacts, now: number): boolean => now >= channel.expires;
