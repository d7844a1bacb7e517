// llama.cpp as a native engine of Node, through node-llama-cpp's prebuilt library, on the processor.
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';
import type { Engine, Piece } from './page/engine.ts';
import { peerPath } from './peers.ts';

/** The part of the library that is used; it is not there when types are checked. */
interface Library {
  getLlama(options: Record<string, unknown>): Promise<Llama>;
}
interface Llama {
  loadModel(options: { modelPath: string }): Promise<Model>;
}
interface Model {
  createContext(options: Record<string, unknown>): Promise<{ getSequence(): Sequence }>;
}
interface Sequence {
  clearHistory(): Promise<void>;
  evaluate(tokens: number[], options: { temperature: number }): AsyncGenerator<number, void, void>;
  controlledEvaluate(
    input: [number, { generateNext: { probabilities: true } }][],
  ): Promise<({ next: { probabilities?: Map<number, number> } } | undefined)[]>;
}

const SEQUENCES = 4;
const CONTEXT = 2048;
/** Its log-probs come as maps of the whole vocabulary: not too many at a time. */
const SCORED_AT_ONCE = 16;
/** Of a share that was rounded to nothing. */
const SMALLEST = 1e-12;
const GREEDY = { temperature: 0 };

export class LlamaCppEngine implements Engine {
  readonly #path: string;
  readonly #threads: number;
  #sequences: Sequence[] = [];
  #last = 1000;

  constructor(path: string, threads: number) {
    this.#path = path;
    this.#threads = threads;
  }

  async open(): Promise<void> {
    const entry = join(peerPath('node-llama-cpp'), 'dist', 'index.js');
    const { getLlama } = (await import(pathToFileURL(entry).href)) as Library;
    const threads = this.#threads;
    const llama = await getLlama({
      gpu: false,
      build: 'never',
      logLevel: 'error',
      progressLogs: false,
      maxThreads: threads,
    });
    const model = await llama.loadModel({ modelPath: this.#path });
    const context = await model.createContext({
      sequences: SEQUENCES,
      contextSize: CONTEXT,
      threads,
    });
    this.#sequences = Array.from({ length: SEQUENCES }, () => context.getSequence());
    await this.read({ ids: [1] });
  }

  async fresh(): Promise<void> {
    for (const sequence of this.#sequences) await sequence.clearHistory();
  }

  async read({ ids }: Pick<Piece, 'ids'>): Promise<void> {
    await this.#generate(this.#sequences[0]!, ids, 1);
  }

  async speak(count: number): Promise<number[]> {
    return this.#generate(this.#sequences[0]!, [this.#last], count);
  }

  /** Its sequences share no prompt: each reads it, all side by side. */
  async replies({ ids }: Piece, count: number, replies: number): Promise<void> {
    const sequences = this.#sequences.slice(0, replies);
    await Promise.all(sequences.map((sequence) => this.#generate(sequence, ids, count + 1)));
  }

  async scores({ ids }: Piece): Promise<Float32Array> {
    let all: Float32Array | undefined;
    for (let at = 0; at < ids.length; at += SCORED_AT_ONCE) {
      const part = ids.slice(at, at + SCORED_AT_ONCE);
      const answers = await this.#sequences[0]!.controlledEvaluate(
        part.map((id) => [id, { generateNext: { probabilities: true } }]),
      );
      answers.forEach((answered, i) => {
        const { probabilities } = answered!.next;
        const vocab = probabilities!.size;
        all ??= new Float32Array(ids.length * vocab);
        for (const [id, p] of probabilities!)
          all[(at + i) * vocab + id] = Math.log(Math.max(p, SMALLEST));
      });
    }
    return all!;
  }

  /** Evaluates tokens, then generates; gives the milliseconds of each generated token. */
  async #generate(sequence: Sequence, ids: number[], count: number): Promise<number[]> {
    const ms: number[] = [];
    let fromMs = performance.now();
    for await (const token of sequence.evaluate([...ids], GREEDY)) {
      ms.push(performance.now() - fromMs);
      fromMs = performance.now();
      this.#last = token;
      if (ms.length === count) break;
    }
    return ms;
  }
}
