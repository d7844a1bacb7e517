// Shows a download to a person: a bar on a terminal, a few lines elsewhere.

/**
 * A reporter that writes to a stream, by default standard error.
 *
 * @param {NodeJS.WriteStream} [stream]
 * @returns {import('./obtain.mjs').Reporter & {end: () => void}}
 */
export function createMeter(stream = process.stderr) {
  const terminal = Boolean(stream.isTTY);
  /** @type {{what: string, startMs: number, startBytes: number, shownMs: number} | undefined} */
  let current;
  let open = false;
  const end = () => {
    if (open) stream.write('\n');
    open = false;
    current = undefined;
  };
  return {
    end,
    note(text) {
      end();
      stream.write(`${text}\n`);
    },
    progress(what, receivedBytes, totalBytes) {
      const now = Date.now();
      if (current?.what !== what) {
        end();
        current = { what, startMs: now, startBytes: receivedBytes, shownMs: 0 };
        if (!terminal) stream.write(`fetching ${what}${totalBytes ? `, ${mb(totalBytes)}` : ''}\n`);
      }
      const done = receivedBytes === totalBytes;
      if (!done && now - current.shownMs < (terminal ? 100 : 10_000)) return;
      const first = current.shownMs === 0;
      current.shownMs = now;
      const seconds = (now - current.startMs) / 1000;
      const speed = seconds > 0 ? (receivedBytes - current.startBytes) / seconds : 0;
      const line = describeProgress(what, receivedBytes, totalBytes, speed);
      if (terminal) {
        stream.write(`\r${line.slice(0, (stream.columns ?? 80) - 1)}\x1b[K`);
        open = true;
      } else if (!first) {
        stream.write(`${line}\n`);
      }
      if (done) end();
    },
  };
}

/**
 * One line: bar, bytes, speed, time left.
 *
 * @param {string} what
 * @param {number} receivedBytes
 * @param {number | undefined} totalBytes
 * @param {number} bytesPerSecond
 */
export function describeProgress(what, receivedBytes, totalBytes, bytesPerSecond) {
  const speed = `${mb(bytesPerSecond)}/s`;
  if (!totalBytes) return `${what} ${mb(receivedBytes)}  ${speed}`;
  const share = Math.min(1, receivedBytes / totalBytes);
  const filled = Math.round(share * 20);
  const bar = '#'.repeat(filled) + '.'.repeat(20 - filled);
  const left = bytesPerSecond > 0 ? (totalBytes - receivedBytes) / bytesPerSecond : Infinity;
  const time = Number.isFinite(left) ? `${duration(left)} left` : '';
  const percent = `${Math.floor(share * 100)}%`.padStart(4);
  return `[${bar}]${percent}  ${mb(receivedBytes)} of ${mb(totalBytes)}  ${speed}  ${time}  ${what}`;
}

/** @param {number} bytes */
const mb = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

/** @param {number} seconds */
const duration = (seconds) =>
  seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
