// Our own model as the product speaks with it, by ChatEngine with its prefix tree, on any runtime: an engine of the
// bench, in the page and in Node.
import {
  buildTokenizer,
  ChatEngine,
  linearSites,
  Random,
  type Adapter,
  type Runtime,
  type Session,
  type SpokenReply,
  type Tokenizer,
  type TokenizerSpec,
  type Weights,
} from '@rapport/core';
import { logSoftmax, type Engine, type Piece, type Reply } from './page/engine.ts';

const ADAPTER = { rank: 8, alpha: 16 };
const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };

export interface Started {
  checkpoint: Weights;
  tokenizer: TokenizerSpec;
  runtime: Runtime;
}

export class OwnEngine implements Engine {
  readonly #start: (kept: boolean) => Promise<Started>;
  #checkpoint!: Weights;
  #runtime!: Runtime;
  #tokenizer!: Tokenizer;
  #session: Promise<Session> | undefined;
  /** Speaks without an end, a token a step. */
  #engine!: ChatEngine;
  /** Speak until the model ends its turn, without and with guesses. */
  readonly #talkers = new Map<boolean, ChatEngine>();
  #held: number[] = [];
  /** Scores of the last run [V], or of several tokens; lent, so valid until the next. */
  #logits = new Float32Array();

  constructor(start: (kept: boolean) => Promise<Started>) {
    this.#start = start;
  }

  async open(kept: boolean): Promise<void> {
    const { checkpoint, tokenizer, runtime } = await this.#start(kept);
    this.#checkpoint = checkpoint;
    this.#runtime = runtime;
    this.#tokenizer = await buildTokenizer(tokenizer);
    this.#engine = await this.#speaker(new Set(), false);
    await this.#speak(this.#engine, [1], 1);
  }

  sizeBytes(): number | undefined {
    return (this.#runtime as { sizeBytes?: number }).sizeBytes;
  }

  /** A conversation begins; what was read before stays in the prefix tree, as it does in the product. */
  fresh(): void {
    this.#held = [];
  }

  adapt(on: boolean): void {
    this.#engine.setAdapter(on ? this.#adapter() : null);
  }

  async read({ ids }: Pick<Piece, 'ids'>): Promise<void> {
    this.#held.push(...ids);
    await this.#speak(this.#engine, this.#held, 1);
  }

  async speak(count: number): Promise<number[]> {
    // The first token waits for the prompt's last one, which is read anew.
    const { timesMs } = await this.#speak(this.#engine, this.#held, count + 1);
    return timesMs.slice(1).map((at, i) => at - timesMs[i]!);
  }

  async replies({ ids }: Piece, count: number, replies: number): Promise<void> {
    await this.#speak(this.#engine, ids, count + 1, replies);
  }

  async reply({ ids }: Piece, most: number, guesses: boolean): Promise<Reply> {
    const engine =
      this.#talkers.get(guesses) ?? (await this.#speaker(this.#tokenizer.ends, guesses));
    this.#talkers.set(guesses, engine);
    const { spoken } = await this.#speak(engine, ids, most);
    const { tokens, timing } = spoken[0]!;
    return { ids: tokens, tokensPerSecond: timing.tokensPerSecond };
  }

  async scores({ ids }: Piece): Promise<Float32Array> {
    const { vocab } = this.#checkpoint.config;
    const all = new Float32Array(ids.length * vocab);
    for (let t = 0; t < ids.length; t++) {
      await this.#speak(this.#engine, ids.slice(0, t + 1), 1);
      all.set(logSoftmax(this.#logits.subarray(-vocab)), t * vocab);
    }
    return all;
  }

  /** Greedy replies to a prompt, and when each token came. */
  async #speak(engine: ChatEngine, prompt: readonly number[], maxTokens: number, replies = 1) {
    const messages = [{ role: 'user' as const, content: prompt.join(' ') }];
    const samplings = Array.from({ length: replies }, () => ({ ...GREEDY, maxTokens }));
    const run = engine.speak({ messages, samplings }, new AbortController().signal);
    const timesMs: number[] = [];
    for (;;) {
      const next = await run.next();
      if (next.done) return { timesMs, spoken: next.value satisfies SpokenReply[] };
      timesMs.push(performance.now());
    }
  }

  /** An engine over the one session that all share. */
  #speaker(ends: ReadonlySet<number>, guesses: boolean): Promise<ChatEngine> {
    const runtime: Runtime = {
      ...(this.#runtime.memory && { memory: this.#runtime.memory }),
      load: async (...parameters) => {
        const session = await (this.#session ??= this.#runtime.load(...parameters));
        return {
          run: async (feeds, options) => {
            const made = await session.run(feeds, options);
            this.#logits = made['logits']!.data as Float32Array<ArrayBuffer>;
            return made;
          },
          dispose: () => session.dispose(),
        };
      },
    };
    return ChatEngine.create({
      checkpoint: this.#checkpoint,
      tokenizer: promptsOfIds(this.#tokenizer, ends),
      runtime,
      ...(!guesses && { lookup: null }),
    });
  }

  /** On all linears. */
  #adapter(): Adapter {
    const { config } = this.#checkpoint;
    const random = new Random(1);
    const some = (count: number) =>
      Float32Array.from({ length: count }, () => (random.uniform() - 0.5) * 0.02);
    const targets = new Map(
      linearSites(config, 0, config.layers).map(({ path, inputs, outputs }) => [
        path,
        { a: some(inputs * ADAPTER.rank), b: some(outputs * ADAPTER.rank) },
      ]),
    );
    return { ...ADAPTER, targets };
  }
}

/** A tokenizer for which a message is a prompt's token ids, written out: all engines read the same tokens. */
function promptsOfIds(real: Tokenizer, ends: ReadonlySet<number>): Tokenizer {
  const { endOfTurn, vocabSize, digest } = real;
  const idsIn = (content: string) => content.split(' ').map(Number);
  return {
    encode: (text) => real.encode(text),
    decode: (ids, options) => real.decode(ids, options),
    decodeStream: () => real.decodeStream(),
    renderChat: (messages) => messages.at(-1)!.content,
    encodeChat: (messages) => idsIn(messages.at(-1)!.content),
    endOfTurn,
    ends,
    vocabSize,
    digest,
  };
}
