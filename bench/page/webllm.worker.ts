// WebLLM on graphics. It takes weights compiled for it only: its own build of the same model in fp32, which it
// downloads itself. Its completions take text only and keep nothing of what was read.
import { serve, type Engine, type Piece } from './engine.ts';

/** The part of the library that is used; it is not there when types are checked. */
interface Library {
  CreateMLCEngine(model: string): Promise<{
    completions: {
      create(options: Record<string, unknown>): Promise<AsyncIterable<unknown>>;
    };
  }>;
}

const LIBRARY = '/peers/@mlc-ai/web-llm/lib/index.js';
const MODEL = 'SmolLM2-135M-Instruct-q0f32-MLC';

class WebLlmEngine implements Engine {
  #engine!: Awaited<ReturnType<Library['CreateMLCEngine']>>;
  #held = '';

  async open(): Promise<void> {
    const { CreateMLCEngine } = (await import(/* @vite-ignore */ LIBRARY)) as Library;
    this.#engine = await CreateMLCEngine(MODEL);
    await this.#complete('Hello', 1);
  }

  fresh(): void {
    this.#held = '';
  }

  async read({ texts }: Piece): Promise<void> {
    this.#held += texts.join('');
    await this.#complete(this.#held, 1);
  }

  async speak(count: number): Promise<number[]> {
    const times = await this.#complete(this.#held, count + 1);
    return [(times[count]! - times[0]!) / count];
  }

  /** One after the other: it answers one prompt at a time. */
  async replies(prompt: Piece, count: number, replies: number): Promise<void> {
    for (let i = 0; i < replies; i++) await this.#complete(prompt.texts.join(''), count + 1);
  }

  scores(): Promise<Float32Array> {
    return Promise.reject(new Error('it gives the log-probs of five tokens at most'));
  }

  /** When each piece of a greedy completion came. */
  async #complete(prompt: string, count: number): Promise<number[]> {
    const times: number[] = [];
    const pieces = await this.#engine.completions.create({
      prompt,
      max_tokens: count,
      temperature: 0,
      ignore_eos: true,
      stream: true,
    });
    for await (const _ of pieces) times.push(performance.now());
    return times;
  }
}

serve(new WebLlmEngine());
