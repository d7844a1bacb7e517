// A graphics device may go away at any moment (a driver is updated, a laptop sleeps): what was computing on it is
// gone, and goes on elsewhere from what was saved last.
import { RapportError, type Runtime, type Session } from '@rapport/core';

/** An engine that fails of itself and the browser's word that the device is lost come in either order. */
const NOTICE_MS = 200;

/**
 * The same runtime on a device that can be lost. What runs then, or is asked of it later, throws `runtime/device-lost`,
 * whether the engine fails in words of its own or never answers. `lost`, asked once a graph is loaded on a device,
 * resolves when that is gone. ONNX Runtime itself lets the device go with its last session and takes a new one for the
 * next: that is no loss.
 */
export function losable(runtime: Runtime, lost: () => Promise<unknown>): Runtime {
  let held: HeldDevice | undefined;

  return {
    ...(runtime.memory && { memory: runtime.memory }),
    async load(graph, weights, loading) {
      const device = (held ??= new HeldDevice());
      const letGo = () => {
        if (--device.sessions === 0 && !device.isLost) held = undefined;
      };
      device.sessions++;
      try {
        const session = await device.unlessGone(runtime.load(graph, weights, loading));
        device.watch(lost);
        return {
          run: (feeds, options) => device.unlessGone(session.run(feeds, options)),
          dispose: () => {
            letGo();
            return Promise.race([device.gone, session.dispose()]).catch(onlyIfPresent);
          },
        } satisfies Session;
      } catch (error) {
        letGo();
        throw error;
      }
    },
  };
}

/** A device for as long as there are sessions on it. */
class HeldDevice {
  sessions = 0;
  isLost = false;
  /** Rejects when the device is lost. */
  readonly gone: Promise<never>;
  #lose!: (error: RapportError) => void;
  #watched = false;

  constructor() {
    this.gone = new Promise<never>((_, reject) => (this.#lose = reject));
    this.gone.catch(() => undefined);
  }

  watch(lost: () => Promise<unknown>): void {
    if (this.#watched) return;
    this.#watched = true;
    void lost().then(() => {
      if (this.sessions === 0) return;
      this.isLost = true;
      this.#lose(deviceLost());
    });
  }

  async unlessGone<T>(work: Promise<T>): Promise<T> {
    try {
      return await Promise.race([this.gone, work]);
    } catch (error) {
      await Promise.race([this.gone, new Promise((resolve) => setTimeout(resolve, NOTICE_MS))]);
      throw error;
    }
  }
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
