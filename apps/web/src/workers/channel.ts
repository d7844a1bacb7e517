// Typed calls across a message port: each method streams values, then returns one, and can be aborted.
// It knows nothing of models; it carries plain data and errors with their code and remedy.
import { RapportError } from '@rapport/core';

/** A method behind a port: yields progress, returns a result, stops soon after `signal` aborts. */
export type Method<I = never, Y = unknown, R = unknown> = (
  input: I,
  signal: AbortSignal,
) => AsyncGenerator<Y, R>;

/** A service as its caller sees it: the same methods, with the signal optional. */
export type Remote<S> = {
  [K in keyof S]: S[K] extends Method<infer I, infer Y, infer R>
    ? (input: I, signal?: AbortSignal) => AsyncGenerator<Y, R, undefined>
    : never;
};

/** What both `Worker` and `MessagePort` offer. */
export interface Port {
  postMessage(message: unknown): void;
  addEventListener(type: 'message', listener: (event: MessageEvent) => void): void;
}

type ToService =
  { kind: 'call'; call: number; method: string; input: unknown } | { kind: 'abort'; call: number };
type ToCaller =
  | { kind: 'yield' | 'return'; call: number; value: unknown }
  | { kind: 'throw'; call: number; error: PlainError };
interface PlainError {
  name: string;
  code: string;
  message: string;
  remedy: string;
}

/**
 * Answers calls that arrive at `port` with the methods of `service`. Gives the way to abort all that run, as when the
 * caller is gone.
 */
export function serve(port: Port, service: Record<string, Method>): () => void {
  const running = new Map<number, AbortController>();
  port.addEventListener('message', ({ data }: MessageEvent<ToService>) => {
    if (data.kind === 'abort') running.get(data.call)?.abort();
    if (data.kind === 'call') void answer(data);
  });

  async function answer({ call, method, input }: ToService & { kind: 'call' }): Promise<void> {
    const controller = new AbortController();
    running.set(call, controller);
    const say = (message: ToCaller) => port.postMessage(message);
    try {
      const run = service[method]!(input as never, controller.signal);
      let step = await run.next();
      for (; !step.done; step = await run.next()) say({ kind: 'yield', call, value: step.value });
      say({ kind: 'return', call, value: step.value });
    } catch (error) {
      say({ kind: 'throw', call, error: toPlain(error) });
    } finally {
      running.delete(call);
    }
  }

  return () => running.forEach((controller) => controller.abort());
}

/** Connects to the service behind `port`. `failed` tells of a crash that no reply will follow: calls
 * that run and calls that come then throw its error. */
export function connect<S extends Record<keyof S, Method>>(
  port: Port,
  failed?: (fail: (error: Error) => void) => void,
): Remote<S> {
  const open = new Map<number, Inbox>();
  let calls = 0;
  let broken: Error | undefined;
  port.addEventListener('message', ({ data }: MessageEvent<ToCaller>) =>
    open.get(data.call)?.put(data),
  );
  failed?.((error) => {
    broken = error;
    for (const [call, inbox] of open) inbox.put({ kind: 'throw', call, error: toPlain(error) });
  });

  async function* invoke(method: string, input: unknown, signal?: AbortSignal) {
    if (broken) throw broken;
    const call = ++calls;
    const inbox = new Inbox();
    open.set(call, inbox);
    const abort = () => port.postMessage({ kind: 'abort', call } satisfies ToService);
    signal?.addEventListener('abort', abort);
    let finished = false;
    try {
      port.postMessage({ kind: 'call', call, method, input } satisfies ToService);
      if (signal?.aborted) abort();
      for (;;) {
        const message = await inbox.take();
        if (message.kind === 'yield') {
          yield message.value;
          continue;
        }
        finished = true;
        if (message.kind === 'throw') throw fromPlain(message.error);
        return message.value;
      }
    } finally {
      if (!finished) abort();
      signal?.removeEventListener('abort', abort);
      open.delete(call);
    }
  }

  return new Proxy({} as Remote<S>, {
    get: (_target, method) => (input: unknown, signal?: AbortSignal) =>
      invoke(String(method), input, signal),
  });
}

/** Runs a streaming call to its end and gives the result; `onValue` sees what it yields. */
export async function finish<Y, R>(
  run: AsyncGenerator<Y, R>,
  onValue?: (value: Y) => void,
): Promise<R> {
  let step = await run.next();
  for (; !step.done; step = await run.next()) onValue?.(step.value);
  return step.value;
}

/** Messages in order, for one reader. */
class Inbox {
  #messages: ToCaller[] = [];
  #wake: (() => void) | undefined;

  put(message: ToCaller): void {
    this.#messages.push(message);
    this.#wake?.();
  }

  async take(): Promise<ToCaller> {
    while (this.#messages.length === 0) await new Promise<void>((wake) => (this.#wake = wake));
    return this.#messages.shift()!;
  }
}

function toPlain(error: unknown): PlainError {
  if (error instanceof RapportError) {
    const { name, code, message, remedy } = error;
    return { name, code, message, remedy };
  }
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  return { name, code: 'workers/unexpected', message, remedy: 'Reload the page and try again.' };
}

function fromPlain({ name, code, message, remedy }: PlainError): Error {
  if (name === 'AbortError') return new DOMException(message, name);
  return new RapportError(code, message, remedy);
}
