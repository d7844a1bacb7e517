// A graphics device may go away at any moment (a driver is updated, a laptop sleeps): what was computing on it is
// gone, and goes on elsewhere from what was saved last.
import { RapportError, type Runtime, type Session } from '@rapport/core';

/** An engine that fails of itself and the browser's word that the device is lost come in either order. */
const NOTICE_MS = 200;

/**
 * The same runtime on a device that can be lost. What runs then, or is asked of it later, throws `runtime/device-lost`,
 * whether the engine fails in words of its own or never answers. `lost`, asked once a graph is loaded, resolves when
 * the device is gone.
 */
export function losable(runtime: Runtime, lost: () => Promise<unknown>): Runtime {
  let lose!: (error: RapportError) => void;
  const gone = new Promise<never>((_, reject) => (lose = reject));
  gone.catch(() => undefined);
  let watched = false;

  async function unlessGone<T>(work: Promise<T>): Promise<T> {
    try {
      return await Promise.race([gone, work]);
    } catch (error) {
      await Promise.race([gone, new Promise((resolve) => setTimeout(resolve, NOTICE_MS))]);
      throw error;
    }
  }

  return {
    async load(graph, weights) {
      const session = await unlessGone(runtime.load(graph, weights));
      if (!watched) void lost().then(() => lose(deviceLost()));
      watched = true;
      return {
        run: (feeds, options) => unlessGone(session.run(feeds, options)),
        dispose: () => Promise.race([gone, session.dispose()]).catch(onlyIfPresent),
      } satisfies Session;
    },
  };
}

/** Runs `work` on one runtime and, when its device is lost, again on another, after saying `moved`. */
export async function* survivingLoss<Y, R>(
  work: (runtime: Runtime) => AsyncGenerator<Y, R>,
  runtime: Runtime,
  other: () => Promise<Runtime>,
  moved: Y,
): AsyncGenerator<Y, R> {
  try {
    return yield* work(runtime);
  } catch (error) {
    if (!isDeviceLost(error)) throw error;
  }
  yield moved;
  return yield* work(await other());
}

/** Whether an error says that the graphics device is gone. */
export const isDeviceLost = (error: unknown): boolean =>
  error instanceof RapportError && error.code === 'runtime/device-lost';

/** What a lost device held is freed already. */
function onlyIfPresent(error: unknown): void {
  if (!isDeviceLost(error)) throw error;
}

const deviceLost = () =>
  new RapportError(
    'runtime/device-lost',
    'The graphics processor was taken away while it computed.',
    'Try again; if it happens again, choose the processor in the settings.',
  );
