// What every engine of the page answers, and the workloads written once for all of them.

export interface Ask {
  kind: 'open' | 'read' | 'speak' | 'scores' | 'replies' | 'reply';
  /** What is read, or scored. */
  tokens?: Piece;
  /** Tokens to speak, each; of a `reply`, at most. */
  count?: number;
  /** Replies side by side. */
  replies?: number;
  /** Keep what was read before. */
  goOn?: boolean;
  /** Speak with an adapter on all linears. */
  adapter?: boolean;
  /** Guess what comes next, and keep what was right. */
  guesses?: boolean;
  /** Load what an earlier `open` kept on this device, instead of fetching it. */
  kept?: boolean;
}

/** Token ids, and the text of each for engines that read text only. */
export interface Piece {
  ids: number[];
  texts: string[];
}

export interface Told {
  ms: number[];
  /** Memory the engine itself reports. */
  bytes?: number;
  /** `reply`: what was said, and how fast. */
  reply?: Reply;
  /** `scores`: log-probs [tokens, V] after each token, flat. */
  scores?: Float32Array;
  error?: string;
}

/** A greedy reply that ended by itself or at its limit. */
export interface Reply {
  ids: number[];
  /** After the first. */
  tokensPerSecond: number;
}

export interface Engine {
  /** Loads the model, until the first token could be spoken. */
  open(kept: boolean): Promise<void>;
  /** Memory of weights and cache, where the engine knows. */
  sizeBytes?(): number | undefined;
  /** Forgets what was read. */
  fresh(): void | Promise<void>;
  /** Reads tokens, until the scores of the next are there. */
  read(piece: Piece): Promise<void>;
  /** Speaks tokens and gives the milliseconds each took. */
  speak(count: number): Promise<number[]>;
  /** After `prompt`, speaks replies side by side. */
  replies(prompt: Piece, count: number, replies: number): Promise<void>;
  /** Answers a prompt of the chat, with or without guesses; missing where the engine makes none. */
  reply?(prompt: Piece, most: number, guesses: boolean): Promise<Reply>;
  /** Log-probs [tokens, V] after each token of a text, NaN after those where it cannot say. */
  scores(text: Piece): Promise<Float32Array>;
  /** Switches an adapter on or off; missing where the engine has none. */
  adapt?(on: boolean): void;
}

const NOTHING: Piece = { ids: [], texts: [] };

async function timed(act: () => Promise<unknown>): Promise<number> {
  const fromMs = performance.now();
  await act();
  return performance.now() - fromMs;
}

export async function answer(engine: Engine, ask: Ask): Promise<Told> {
  const { kind, tokens = NOTHING, count = 0, replies = 1, goOn = false } = ask;
  if (kind === 'open') {
    const ms = [await timed(() => engine.open(ask.kept ?? false))];
    const bytes = engine.sizeBytes?.();
    return bytes === undefined ? { ms } : { ms, bytes };
  }
  if (ask.adapter !== undefined) {
    if (!engine.adapt) throw new Error('it takes no adapter at run time');
    engine.adapt(ask.adapter);
  }
  if (!goOn) await engine.fresh();
  if (kind === 'read') return { ms: [await timed(() => engine.read(tokens))] };
  if (kind === 'speak') return { ms: await engine.speak(count) };
  if (kind === 'replies') {
    return { ms: [await timed(() => engine.replies(tokens, count, replies))] };
  }
  if (kind === 'reply') {
    if (!engine.reply) throw new Error('it makes no guesses');
    return { ms: [], reply: await engine.reply(tokens, count, ask.guesses ?? false) };
  }
  return { ms: [], scores: await engine.scores(tokens) };
}

/** Makes a worker answer for an engine. */
export function serve(engine: Engine): void {
  self.onmessage = ({ data }: MessageEvent<Ask>) =>
    void answer(engine, data).then(
      (told) => self.postMessage(told, { transfer: told.scores ? [told.scores.buffer] : [] }),
      (error: unknown) => self.postMessage({ ms: [], error: String(error) }),
    );
}

/** log softmax of one row of scores. */
export function logSoftmax(logits: Float32Array): Float32Array {
  const best = logits.reduce((a, b) => Math.max(a, b));
  const sum = best + Math.log(logits.reduce((a, b) => a + Math.exp(b - best), 0));
  return logits.map((x) => x - sum);
}

/** A file of this server as a blob: fetched and put into the origin's private files, or as kept there. */
export async function fileOf(url: string, kept: boolean): Promise<Blob> {
  const folder = await navigator.storage.getDirectory();
  const handle = await folder.getFileHandle(url.replaceAll('/', '_'), { create: true });
  if (!kept) {
    const answered = await fetch(url);
    if (!answered.ok) throw new Error(`${url} answered ${answered.status}`);
    await answered.body!.pipeTo(await handle.createWritable());
  }
  return handle.getFile();
}
