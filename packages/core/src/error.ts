// One error class for everything the world can do wrong. It names what was met and what to do next.
// It knows nothing of how an error is shown: the server, the page and the CLI do that.

/**
 * An error a person or a program can act on.
 *
 * `code` is `room/what` (for example `weights/truncated`) and is stable; `message` names the value
 * met and what was expected; `remedy` is the next step in one sentence.
 */
export class RapportError extends Error {
  readonly code: string;
  readonly remedy: string;

  constructor(code: string, message: string, remedy: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'RapportError';
    this.code = code;
    this.remedy = remedy;
  }
}

/** Throws when one of our own invariants is broken: a bug of ours, never the world's. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`Assertion failed: ${message}`);
}
