// How people end a process: by Ctrl-C or SIGTERM, once, or again when it takes too long.

/** One Ctrl-C arrives twice: the terminal sends it to all its processes, and npm passes its own on. */
const sameKeyMs = 1_000;

/**
 * Calls `end` at the first SIGINT or SIGTERM, and `now` at one that comes a second later or after that.
 *
 * @param {() => void} end
 * @param {() => void} now
 * @returns {() => void} stops listening
 */
export function whenAskedToEnd(end, now) {
  /** @type {number | undefined} */
  let firstMs;
  const hear = () => {
    const ms = performance.now();
    if (firstMs === undefined) {
      firstMs = ms;
      end();
    } else if (ms - firstMs >= sameKeyMs) {
      now();
    }
  };
  process.on('SIGINT', hear).on('SIGTERM', hear);
  return () => void process.off('SIGINT', hear).off('SIGTERM', hear);
}
