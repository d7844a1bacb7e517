// How much of a device keys and values may take: what is kept of all that was read, and one conversation.
// Browsers that do not say how much memory there is are taken for a usual device.
import { CACHE_BYTES } from '@rapport/core';

export interface CacheRoom {
  /** Of what was read, branches and other conversations included. */
  cacheBytes: number;
  /** Of one conversation, which may be longer than what is kept beside others. */
  sequenceBytes: number;
}

const USUAL_GB = 4;
const KEPT_SHARE = 0.03;
/** A long conversation read whole is worth more than branches that need not be read again. */
const SEQUENCE_SHARE = 0.08;
/** As which a usual device counts when loading has crashed on it. */
const SMALL_GB = 0.5;

/** The room on a device with `deviceGb` of memory, by what they are kept as; much less of it where `small`. */
export function cacheRoom(
  deviceGb = USUAL_GB,
  small = false,
  dtype: keyof typeof CACHE_BYTES = 'float32',
): CacheRoom {
  const share = small ? Math.min(1, USUAL_GB / deviceGb) * (SMALL_GB / USUAL_GB) : 1;
  const bytes = share * deviceGb * 1e9;
  return {
    cacheBytes: Math.min(CACHE_BYTES[dtype], KEPT_SHARE * bytes),
    sequenceBytes: SEQUENCE_SHARE * bytes,
  };
}
