// Too little memory, by its many names: engines in WASM throw in words of their own, graphics devices only tell who
// asks.
import { RapportError, type Runtime, type Session } from '@rapport/core';
import type { GraphicsDevice, GraphicsMemory } from './graphics-memory.ts';

/** Whether an error says that there is no memory left. */
export const isOutOfMemory = ({ message }: Error): boolean =>
  /bad_alloc|memory|allocat|Aborted\(/i.test(message);

/** What a graphics device offers to whoever asks. */
export type ErrorScopes = Pick<GraphicsDevice, 'pushErrorScope' | 'popErrorScope'>;

/**
 * The same runtime; a run for which the device, or `memory` on it, had too little memory throws `runtime/out-of-memory`.
 */
export function askingForMemory(
  runtime: Runtime,
  device: () => Promise<ErrorScopes>,
  memory?: GraphicsMemory,
): Runtime {
  return {
    ...(runtime.memory && { memory: runtime.memory }),
    async load(graph, weights, loading) {
      const session = await runtime.load(graph, weights, loading);
      const scopes = await device();
      return {
        async run(feeds, options) {
          const lacked = await memory?.lack();
          if (lacked) throw outOfMemory(lacked.message);
          scopes.pushErrorScope('out-of-memory');
          const found = session.run(feeds, options);
          // Whatever became of the run, the scope is closed.
          const lack = await found.then(
            () => scopes.popErrorScope(),
            () => scopes.popErrorScope().catch(() => null),
          );
          if (lack) throw outOfMemory(lack.message);
          return found;
        },
        dispose: () => session.dispose(),
      } satisfies Session;
    },
  };
}

const outOfMemory = (said: string) =>
  new RapportError(
    'runtime/out-of-memory',
    `The graphics processor has too little memory: ${said}`,
    'Close other tabs and programs, or choose the processor in the settings.',
  );
