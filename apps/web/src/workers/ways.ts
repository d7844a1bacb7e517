// In which order the ways to compute are tried for a model, until one opens it. It starts nothing itself.
import type { Runtime } from '@rapport/core';
import type { BackendChoice, Engine, OpenedModel, OpenRequest, Verdict } from './inference.ts';

export interface Way {
  engine: Engine;
  reason: OpenedModel['reason'];
  /** One thread, and less memory for what has been read. */
  small?: true;
  /** What the device was found to do best; kept, it saves the next trial. */
  verdict?: Verdict;
}

/** What decides: `verdict` is of an earlier start on this device. */
export interface Wanted extends Pick<OpenRequest, 'verdict' | 'afterCrash' | 'deviceLost'> {
  choice: BackendChoice;
  /** Its weights are stored in blocks of few bits. */
  quantised: boolean;
}

/** The best way first; each other is for when all before it failed. `trial` is asked where nothing else decides. */
export async function waysOf(
  { choice, quantised, verdict, afterCrash, deviceLost }: Wanted,
  trial: () => Promise<Verdict>,
): Promise<Way[]> {
  // In fp32 our kernels read as much as ONNX Runtime does: their place is with blocks.
  const onProcessor: Engine[] = quantised ? ['simd', 'wasm'] : ['wasm'];
  const sound = soundOf(onProcessor, verdict);
  if (afterCrash) {
    return sound.map((engine): Way => ({ engine, small: true, reason: 'after-crash' }));
  }
  if (deviceLost) return sound.map((engine): Way => ({ engine, reason: 'device-lost' }));
  if (choice !== 'auto') return [{ engine: choice, reason: 'chosen' }];
  if (!quantised) return [{ engine: 'wasm', reason: 'isolated' }];
  const best = verdict ?? (await trial());
  const others = soundOf(onProcessor, best).filter((engine) => engine !== best.engine);
  return [
    { engine: best.engine, reason: reasonFor(best), verdict: best },
    ...others.map((engine): Way => ({ engine, reason: 'fell-back' })),
  ];
}

function reasonFor({ wrong, whole }: Verdict): Way['reason'] {
  if (wrong.length > 0) return 'computes-right';
  return whole ? 'fastest' : 'not-compared';
}

/** Those that were not found to compute wrong; all, where that would leave none. */
function soundOf(engines: readonly Engine[], verdict?: Verdict): readonly Engine[] {
  const sound = engines.filter((engine) => !verdict?.wrong.includes(engine));
  return sound.length > 0 ? sound : engines;
}

/**
 * The first way on which `open` succeeds; what was started for one that fails is disposed of. Throws what the last one
 * threw.
 */
export async function firstThatOpens<B extends { runtime: Pick<Runtime, 'dispose'> }, T>(
  [way, ...others]: readonly Way[],
  start: (way: Way) => Promise<B>,
  open: (backend: B, way: Way) => Promise<T>,
): Promise<{ way: Way; backend: B; opened: T }> {
  let backend: B | undefined;
  try {
    backend = await start(way!);
    return { way: way!, backend, opened: await open(backend, way!) };
  } catch (error) {
    await backend?.runtime.dispose?.().catch(() => undefined);
    if (others.length === 0) throw error;
    return firstThatOpens(others, start, open);
  }
}
