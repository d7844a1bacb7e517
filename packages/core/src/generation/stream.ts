// One reply while it is spoken: draws its tokens, turns them into text, and knows when it ends.
import type { DecodeStream, Tokenizer } from '../tokenizer/tokenizer.ts';
import { HeldTokens, type TextToken } from './held-tokens.ts';
import { Sampler } from './sampler.ts';
import type { SamplingWithSeed, SpokenReply } from './speech.ts';

export class Stream {
  /** Set once it has ended by itself. */
  finish: 'stop' | 'length' | undefined;
  /** The token to read next. */
  last = 0;
  #drawn = 0;
  readonly #spoken: TextToken[] = [];
  readonly #sampler: Sampler;
  readonly #decoder: DecodeStream;
  readonly #held: HeldTokens;
  readonly #ends: ReadonlySet<number>;
  readonly #most: number;

  /** `prefix`: what the reply has said already; `room`: tokens the context has left. */
  constructor(
    sampling: SamplingWithSeed,
    tokenizer: Tokenizer,
    prefix: readonly number[],
    room: number,
  ) {
    this.#sampler = new Sampler(sampling, prefix);
    this.#decoder = tokenizer.decodeStream();
    for (const id of prefix) this.#decoder.push(id);
    this.#held = new HeldTokens(sampling.stop);
    this.#ends = tokenizer.ends;
    this.#most = Math.min(sampling.maxTokens, room);
    if (prefix.length > 0 && this.#ends.has(prefix.at(-1)!)) this.finish = 'stop';
    else if (this.#most <= 0) this.finish = 'length';
  }

  /** Tokens that it may still draw. */
  get left(): number {
    return this.#most - this.#drawn;
  }

  /** Draws a token; gives those that can be shown now. */
  take(logits: Float32Array): TextToken[] {
    const { id, logprob } = this.#sampler.next(logits);
    this.last = id;
    this.#drawn++;
    if (this.#ends.has(id)) this.finish = 'stop';
    else if (this.#drawn >= this.#most) this.finish = 'length';
    // At the limit a character may be half said: its tokens are kept, and it comes whole with what goes on.
    const text = this.#decoder.push(id) + (this.finish === 'stop' ? this.#decoder.flush() : '');
    const { certain, stopped } = this.#held.push({ id, logprob, text });
    if (stopped) this.finish = 'stop';
    else if (this.finish) certain.push(...this.#held.flush());
    this.#spoken.push(...certain);
    return certain;
  }

  /** What was said; after a stop in mid-reply without the tokens that were held back. */
  reply(timing: { prefillMs: number; decodeMs: number }): SpokenReply {
    const steps = Math.max(0, this.#drawn - 1);
    return {
      tokens: this.#spoken.map(({ id }) => id),
      logprobs: this.#spoken.map(({ logprob }) => logprob),
      text: this.#spoken.map(({ text }) => text).join(''),
      finishReason: this.finish ?? 'cancelled',
      timing: { ...timing, tokensPerSecond: (steps * 1000) / Math.max(1, timing.decodeMs) },
    };
  }
}
