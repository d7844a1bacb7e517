// transformers.js on our ONNX export, in the dtype of the worker's name. Its own forward pass is called, not
// `generate`, so that tokenizer, sampling and streaming cost it nothing here.
import { logSoftmax, serve, type Engine, type Piece } from './engine.ts';

/** The part of the library that is used; it is not there when types are checked. */
interface Tensor {
  dims: number[];
  data: Float32Array;
}
interface Model {
  (inputs: Record<string, unknown>): Promise<Record<string, Tensor>>;
}
interface Library {
  env: {
    allowLocalModels: boolean;
    allowRemoteModels: boolean;
    localModelPath: string;
    useBrowserCache: boolean;
    backends: { onnx: { wasm: { numThreads: number; wasmPaths: string } } };
  };
  AutoModelForCausalLM: {
    from_pretrained(name: string, options: Record<string, unknown>): Promise<Model>;
  };
  Tensor: new (type: string, data: ArrayLike<unknown>, dims: number[]) => Tensor;
}

const [dtype = 'fp32', threads = '1'] = self.name.split(' ');
const LIBRARY = '/peers/@huggingface/transformers/dist/transformers.min.js';

class TransformersEngine implements Engine {
  #library!: Library;
  #model!: Model;
  /** Present keys and values by the name of the input they go into. */
  #past: Record<string, Tensor> = {};
  #length = 0;
  #rows = 1;
  #next = 1000;

  async open(): Promise<void> {
    this.#library = (await import(/* @vite-ignore */ LIBRARY)) as Library;
    const { env, AutoModelForCausalLM } = this.#library;
    env.allowLocalModels = true;
    env.allowRemoteModels = false;
    env.localModelPath = '/exports/';
    env.backends.onnx.wasm.numThreads = Number(threads);
    env.backends.onnx.wasm.wasmPaths = `${location.origin}/peers/onnxruntime-web/dist/`;
    this.#model = await AutoModelForCausalLM.from_pretrained('exported', {
      dtype,
      device: 'wasm',
      use_external_data_format: dtype === 'fp32',
    });
    this.fresh();
    await this.read({ ids: [1] });
  }

  fresh(): void {
    this.#past = {};
    this.#length = 0;
    this.#rows = 1;
  }

  async read({ ids }: Pick<Piece, 'ids'>): Promise<void> {
    await this.#forward([ids], 1);
  }

  async speak(count: number): Promise<number[]> {
    const ms: number[] = [];
    for (let i = 0; i < count; i++) {
      const fromMs = performance.now();
      await this.#say();
      ms.push(performance.now() - fromMs);
    }
    return ms;
  }

  async replies(prompt: Piece, count: number, replies: number): Promise<void> {
    await this.read(prompt);
    this.#rows = replies;
    const { Tensor } = this.#library;
    for (const [name, { data, dims }] of Object.entries(this.#past)) {
      const copies = new Float32Array(data.length * replies);
      for (let i = 0; i < replies; i++) copies.set(data, i * data.length);
      this.#past[name] = new Tensor('float32', copies, [replies, ...dims.slice(1)]);
    }
    for (let i = 0; i < count; i++) await this.#say();
  }

  async scores({ ids }: Piece): Promise<Float32Array> {
    const logits = await this.#forward([ids], ids.length);
    const vocab = logits.length / ids.length;
    for (let t = 0; t < ids.length; t++) {
      logits.set(logSoftmax(logits.subarray(t * vocab, (t + 1) * vocab)), t * vocab);
    }
    return logits.slice();
  }

  async #say(): Promise<void> {
    const logits = await this.#forward(new Array(this.#rows).fill([this.#next]), 1);
    const first = logits.subarray(0, logits.length / this.#rows);
    let best = 0;
    for (let id = 1; id < first.length; id++) if (first[id]! > first[best]!) best = id;
    this.#next = best;
  }

  async #forward(rows: readonly (readonly number[])[], kept: number): Promise<Float32Array> {
    const { Tensor } = this.#library;
    const width = rows[0]!.length;
    const int64 = (numbers: readonly number[], dims: number[]) =>
      new Tensor('int64', BigInt64Array.from(numbers, BigInt), dims);
    const all = this.#length + width;
    const places = rows[0]!.map((_, t) => this.#length + t);
    const out = await this.#model({
      input_ids: int64(rows.flat(), [rows.length, width]),
      attention_mask: int64(new Array(rows.length * all).fill(1), [rows.length, all]),
      position_ids: int64(
        rows.flatMap(() => places),
        [rows.length, width],
      ),
      num_logits_to_keep: int64([kept], []),
      ...(this.#length > 0 && { past_key_values: this.#past }),
    });
    this.#past = Object.fromEntries(
      Object.entries(out)
        .filter(([name]) => name.startsWith('present.'))
        .map(([name, tensor]) => [name.replace('present', 'past_key_values'), tensor]),
    );
    this.#length = all;
    return out['logits']!.data;
  }
}

serve(new TransformersEngine());
