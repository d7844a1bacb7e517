// The canaries of this server (canaries.jsonl), put to adapters while they are trained and when they are measured.
import { readFile } from 'node:fs/promises';
import type { Adapter, Checkpoint, Runtime, Tokenizer } from '@rapport/core';
import { askCanaries, compareAnswers, placeOf, Speaker } from '@rapport/rlhf';
import type { Answer, Canary, CanaryResult } from '@rapport/rlhf';

/** The base needs 30 at most; whoever likes long answers may need more, and ends them all the same. */
const MOST_TOKENS = 256;

/** A model that is open. */
export interface OpenModel {
  readonly checkpoint: Checkpoint;
  readonly runtime: Runtime;
  readonly tokenizer: Tokenizer;
}

export class Canaries {
  readonly #model: OpenModel;
  readonly #canaries: readonly Canary[];
  /** What the base answers, once it has been asked. */
  #before: readonly (readonly Answer[])[] | undefined;
  /** What has been found: the adapter that training returns is measured again at the end. */
  readonly #found = new WeakMap<Adapter, CanaryResult>();

  private constructor(model: OpenModel, canaries: readonly Canary[]) {
    this.#model = model;
    this.#canaries = canaries;
  }

  static async open(model: OpenModel): Promise<Canaries> {
    const text = await readFile(new URL('./canaries.jsonl', import.meta.url), 'utf8');
    const lines = text.split('\n').filter((line) => line !== '');
    const asked = (content: string) =>
      model.tokenizer.encodeChat([{ role: 'user', content }], { addGenerationPrompt: true });
    const canaries = lines.map((line) => {
      const { prompt, expect } = JSON.parse(line) as { prompt: string; expect: string[] };
      return { prompt: asked(prompt), expect };
    });
    return new Canaries(model, canaries);
  }

  /** What the base answers and the adapter does not. */
  async ask(adapter: Adapter, signal: AbortSignal): Promise<CanaryResult> {
    const known = this.#found.get(adapter);
    if (known) return known;
    const { checkpoint, runtime, tokenizer } = this.#model;
    const { endOfTurn } = tokenizer;
    const { fromLayer } = placeOf(checkpoint.config, [adapter]);
    const speaker = await Speaker.create(checkpoint, runtime, { endOfTurn, fromLayer });
    const answers = (speaking: Adapter | null) =>
      askCanaries(
        speaker,
        this.#canaries,
        speaking,
        {
          decode: (tokens) => tokenizer.decode(tokens, { skipSpecial: true }),
          maxTokens: MOST_TOKENS,
        },
        signal,
      );
    try {
      this.#before ??= await answers(null);
      const found = compareAnswers(this.#canaries, this.#before, await answers(adapter));
      this.#found.set(adapter, found);
      return found;
    } finally {
      await speaker.dispose();
    }
  }
}
