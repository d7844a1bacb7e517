// wllama (llama.cpp in WASM) on the same GGUF, on as many threads as the worker's name says.
// Its completions take text only: prompts are of words that are one token each, and the count is checked.
import { serve, type Engine, type Piece } from './engine.ts';

/** The part of the library that is used; it is not there when types are checked. */
interface Completion {
  choices: { logprobs: { content?: { top_logprobs: TokenLogprob[] }[] } | null }[];
  usage?: { prompt_tokens: number } | null;
}
interface TokenLogprob {
  id: number;
  logprob: number;
}
interface Wllama {
  loadModelFromUrl(url: string, params: Record<string, unknown>): Promise<void>;
  getLoadedContextInfo(): { n_vocab: number };
  createCompletion(options: Record<string, unknown>): Promise<Completion>;
}
interface Library {
  Wllama: new (paths: Record<string, string>, config: Record<string, unknown>) => Wllama;
}

const FOLDER = '/peers/@wllama/wllama/esm/';
const CONTEXT = 8192;
/** Log-probs asked for: among more there are tokens that are no text, and its JSON fails at those. */
const NAMED = 100;

class WllamaEngine implements Engine {
  #wllama!: Wllama;
  #held: Piece = { ids: [], texts: [] };

  async open(): Promise<void> {
    const { Wllama } = (await import(/* @vite-ignore */ `${FOLDER}index.js`)) as Library;
    this.#wllama = new Wllama(
      { default: `${location.origin}${FOLDER}wasm/wllama.wasm` },
      { suppressNativeLog: true },
    );
    await this.#wllama.loadModelFromUrl(`${location.origin}/model.gguf`, {
      n_threads: Number(self.name),
      n_ctx: CONTEXT,
      n_gpu_layers: 0,
      n_parallel: 4,
      kv_unified: true,
    });
    await this.#complete('Hello', 1);
  }

  fresh(): void {
    this.#held = { ids: [], texts: [] };
  }

  async read({ ids, texts }: Piece): Promise<void> {
    this.#held = { ids: [...this.#held.ids, ...ids], texts: [...this.#held.texts, ...texts] };
    const { usage } = await this.#complete(this.#held.texts.join(''), 1);
    const expected = this.#held.ids.length;
    if (usage && usage.prompt_tokens !== expected) {
      throw new Error(`it read ${usage.prompt_tokens} tokens where ${expected} were meant`);
    }
  }

  async speak(count: number): Promise<number[]> {
    const times: number[] = [];
    const onData = () => times.push(performance.now());
    // The first piece waits for the prompt's last token, which is read anew. Later ones may come in pairs: only
    // their mean says how long a token takes.
    await this.#complete(this.#held.texts.join(''), count + 1, { stream: true, onData });
    return [(times[count]! - times[0]!) / count];
  }

  async replies(prompt: Piece, count: number, replies: number): Promise<void> {
    await this.read(prompt);
    const text = prompt.texts.join('');
    await Promise.all(Array.from({ length: replies }, () => this.#complete(text, count + 1)));
  }

  async scores({ ids, texts }: Piece): Promise<Float32Array> {
    const vocab = this.#wllama.getLoadedContextInfo().n_vocab;
    const all = new Float32Array(ids.length * vocab).fill(NaN);
    for (let t = 0; t < ids.length; t++) {
      const asked = { n_probs: NAMED, logprobs: NAMED };
      const { choices, usage } = await this.#complete(texts.slice(0, t + 1).join(''), 1, asked);
      // Cut here, the text is of other tokens.
      if (usage && usage.prompt_tokens !== t + 1) continue;
      const top = choices[0]?.logprobs?.content?.[0]?.top_logprobs ?? [];
      for (const { id, logprob } of top) all[t * vocab + id] = logprob;
    }
    return all;
  }

  #complete(
    prompt: string,
    count: number,
    more: Record<string, unknown> = {},
  ): Promise<Completion> {
    return this.#wllama.createCompletion({
      prompt,
      max_tokens: count,
      temperature: 0,
      ignore_eos: true,
      cache_prompt: true,
      ...more,
    });
  }
}

serve(new WllamaEngine());
