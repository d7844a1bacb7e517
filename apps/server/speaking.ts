// The engine on this machine: a checkpoint, ONNX Runtime for Node, and perhaps an adapter.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as core from '@rapport/core';
import { RapportError, type ChatMessage, type Checkpoint, type Tokenizer } from '@rapport/core';
import { openModel, tokenizerOf, type ModelPlace } from './models.ts';

/** An adapter as files have it: PEFT's config and its tensors. */
export interface AdapterFiles {
  config: { r: number; lora_alpha: number; target_modules: string | string[] };
  bytes: Uint8Array;
}

export interface Sampling {
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  maxTokens: number;
  seed: number;
}

export interface Reply {
  promptTokens: number[];
  tokens: number[];
  logprobs: number[];
  text: string;
  finishReason: 'stop' | 'length' | 'cancelled';
  timing: { prefillMs: number; decodeMs: number; tokensPerSecond: number };
}

/** What commands use of the engine of @rapport/core. */
export interface Engine {
  setAdapter(adapter: unknown): void;
  generate(
    messages: readonly ChatMessage[],
    sampling: Sampling,
    signal?: AbortSignal,
  ): AsyncGenerator<{ id: number; logprob: number; text: string }, Reply>;
  score(messages: readonly ChatMessage[]): Promise<{ tokens: number[]; logprobs: number[] }>;
}

interface EngineRoom {
  Engine?: { create(parts: object): Promise<Engine> };
  createOrtRuntime?: (parts: object) => unknown;
  readPeft?: (config: unknown, bytes: Uint8Array) => unknown;
}

export interface Opened {
  engine: Engine;
  checkpoint: Checkpoint;
  tokenizer: Tokenizer;
}

/** The greedy settings of a comparison. */
export const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 };

/** ONNX Runtime for Node behind the runtime interface. */
async function nodeRuntime(): Promise<unknown> {
  const { createOrtRuntime } = core as unknown as EngineRoom;
  if (!createOrtRuntime) throw missing('runtime');
  const ort = await import('onnxruntime-node');
  return createOrtRuntime({ ort, backend: 'ort-node' });
}

/** Opens a model to speak with. Throws `weights/*`, `engine/*`. */
export async function openEngine(place: ModelPlace): Promise<Opened> {
  const { Engine } = core as unknown as EngineRoom;
  if (!Engine) throw missing('engine');
  const checkpoint = await openModel(place);
  const tokenizer = await tokenizerOf(checkpoint);
  const engine = await Engine.create({ checkpoint, tokenizer, runtime: await nodeRuntime() });
  return { engine, checkpoint, tokenizer };
}

/** Reads an adapter folder in PEFT layout for `engine.setAdapter`. Throws `adapter/*`. */
export async function readAdapterFolder(folder: string): Promise<unknown> {
  const config = JSON.parse(
    await readFile(join(folder, 'adapter_config.json'), 'utf8').catch((cause: Error) => {
      throw new RapportError(
        'adapter/missing',
        `${folder} holds no adapter_config.json.`,
        'Give a folder in PEFT layout.',
        { cause },
      );
    }),
  ) as AdapterFiles['config'];
  const bytes = await readFile(join(folder, 'adapter_model.safetensors'));
  return adapterOf({ config, bytes });
}

/** An adapter from its files. */
export function adapterOf({ config, bytes }: AdapterFiles): unknown {
  const { readPeft } = core as unknown as EngineRoom;
  if (!readPeft) throw missing('adapters');
  return readPeft(config, bytes);
}

const missing = (what: string) =>
  new RapportError(
    'engine/missing',
    `This build of @rapport/core has no ${what}.`,
    'Use a complete checkout of Rapport.',
  );
