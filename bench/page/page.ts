// A page of the bench, with a worker for the engine it measures; `ask` sends it a question and gives its answer.
import { compare, type Quality } from '../quality.ts';
import type { Ask, Piece, Told } from './engine.ts';
import type { Limits } from './limits.worker.ts';
import LimitsWorker from './limits.worker.ts?worker';
import OwnWorker from './own.worker.ts?worker';
import TrainingWorker from './training.worker.ts?worker';
import TransformersWorker from './transformers.worker.ts?worker';
import WebLlmWorker from './webllm.worker.ts?worker';
import WllamaWorker from './wllama.worker.ts?worker';

/** Which worker an engine needs, and what that one is told by its name. */
const KINDS = {
  own: OwnWorker,
  transformers: TransformersWorker,
  wllama: WllamaWorker,
  webllm: WebLlmWorker,
} as const;

export interface Address {
  kind: keyof typeof KINDS;
  name: string;
}

const workers = new Map<string, Worker>();

function workerOf({ kind, name }: Address): Worker {
  const key = `${kind} ${name}`;
  let worker = workers.get(key);
  if (!worker) workers.set(key, (worker = new KINDS[kind]({ name })));
  return worker;
}

const ask = (to: Address, question: Ask): Promise<Told> =>
  new Promise((resolve, reject) => {
    const worker = workerOf(to);
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.onmessage = ({ data }: MessageEvent<Told>) =>
      data.error ? reject(new Error(data.error)) : resolve(data);
    worker.postMessage(question);
  });

/** What all pages of this origin see. */
const exactFile = async (): Promise<FileSystemFileHandle> =>
  (await navigator.storage.getDirectory()).getFileHandle('exact-scores', { create: true });

/** Log-probs of `text` under an engine, kept as what others are compared with. */
async function keepExact(to: Address, text: Piece): Promise<void> {
  const { scores } = await ask(to, { kind: 'scores', tokens: text });
  const file = await (await exactFile()).createWritable();
  await file.write(scores as Float32Array<ArrayBuffer>);
  await file.close();
}

/** How an engine's log-probs of `text` differ from those kept. */
async function quality(to: Address, text: Piece): Promise<Quality> {
  const { scores } = await ask(to, { kind: 'scores', tokens: text });
  const kept = await (await exactFile()).getFile();
  return compare(new Float32Array(await kept.arrayBuffer()), scores!, text.ids);
}

/** What all threads together can do, each for so long. */
async function limits(threads: number, forMs: number): Promise<Limits> {
  const parts = await Promise.all(
    Array.from({ length: threads }, async () => {
      const worker = new LimitsWorker();
      const part = await new Promise<Limits>((resolve, reject) => {
        worker.onerror = ({ message }) => reject(new Error(message));
        worker.onmessage = ({ data }: MessageEvent<Limits>) => resolve(data);
        worker.postMessage(forMs);
      });
      worker.terminate();
      return part;
    }),
  );
  return {
    flops: parts.reduce((sum, { flops }) => sum + flops, 0),
    bytes: parts.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

/** Whether this browser has real graphics for WebGPU. */
async function hasGraphics(): Promise<boolean> {
  const adapter = await navigator.gpu?.requestAdapter();
  return Boolean(adapter) && !adapter!.info.isFallbackAdapter;
}

let trainer: Worker | undefined;

/** What a line of the training bench comes to. */
function train(threads: number, line: string): Promise<object> {
  const worker = (trainer ??= new TrainingWorker({ name: `${threads}` }));
  return new Promise((resolve, reject) => {
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.onmessage = ({ data }: MessageEvent<{ error?: string }>) =>
      data.error ? reject(new Error(data.error)) : resolve(data);
    worker.postMessage(line);
  });
}

const bench = { ask, keepExact, quality, limits, train, hasGraphics };
export type BenchPage = typeof bench;

Object.assign(globalThis, { bench });
