// A gate in front of a runtime: while it is closed no graph runs, so that the chat has the processor.
// What runs already is not interrupted: pieces of work are small instead.
import type { Runtime, Session } from '@rapport/core';

export class Gate {
  /** Milliseconds that work waited at this gate. */
  waitedMs = 0;
  #closed = false;
  #waiting: (() => void)[] = [];

  close(): void {
    this.#closed = true;
  }

  open(): void {
    this.#closed = false;
    for (const go of this.#waiting.splice(0)) go();
  }

  /** Resolves at once while open, else when it opens; rejects when `signal` aborts. */
  async pass(signal: AbortSignal): Promise<void> {
    const startedMs = performance.now();
    while (this.#closed && !signal.aborted) {
      await new Promise<void>((go) => {
        this.#waiting.push(go);
        signal.addEventListener('abort', () => go(), { once: true });
      });
    }
    this.waitedMs += performance.now() - startedMs;
    signal.throwIfAborted();
  }
}

/** The same runtime; every load and every run waits at the gate first. */
export function gated(runtime: Runtime, gate: Gate, signal: AbortSignal): Runtime {
  return {
    async load(graph, weights, options) {
      await gate.pass(signal);
      const session = await runtime.load(graph, weights, options);
      return {
        async run(feeds) {
          // Messages that close the gate, or abort, are heard here even when graphs never wait.
          await new Promise((heard) => setTimeout(heard));
          await gate.pass(signal);
          return session.run(feeds);
        },
        dispose: () => session.dispose(),
      } satisfies Session;
    },
  };
}
