// The model of this machine, speaking and scoring: a checkpoint, what computes it, and perhaps an adapter.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  ChatEngine,
  RapportError,
  readPeftConfig,
  type Adapter,
  type ChatMessage,
  type Checkpoint,
  type Golden,
  type Runtime,
  type SamplingWithSeed,
  type SpokenReply,
  type Tokenizer,
} from '@rapport/core';
import { featuresOf, Policy, rewardOf, type RewardModel } from '@rapport/rlhf';
import { kernelRuntime } from './kernel-runtime.ts';
import { openModel, tokenizerOf, type ModelPlace } from './models.ts';
import { nodeRuntime } from './node-runtime.ts';
import { readAdapter } from './trainer/peft.ts';

/** The greedy settings of a comparison. */
export const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 };

/** A question any model answers; what it says next tells whether a client loaded the right release. */
const GOLDEN_QUESTION = 'What is the capital of France?';
/** Between runtimes, in nats. */
export const GOLDEN_TOLERANCE = 0.02;

/** ONNX Runtime on expanded weights, or our own kernels on the integers of the file. */
export const BACKENDS = ['fp32', 'int8'] as const;
export type Backend = (typeof BACKENDS)[number];

/** A reply with the prompt it answered. */
export type Generated = { promptTokens: number[] } & SpokenReply;

/** What a reply is worth: log-probs of its tokens, and its reward where a reward model was given. */
export interface Scored {
  tokens: number[];
  logprobs: number[];
  reward?: number;
}

export class Voice {
  readonly tokenizer: Tokenizer;
  readonly #checkpoint: Checkpoint;
  readonly #runtime: Runtime;
  readonly #adapter: Adapter | null;
  #engine: Promise<ChatEngine> | undefined;

  private constructor(
    parts: { checkpoint: Checkpoint; tokenizer: Tokenizer; runtime: Runtime },
    adapter: Adapter | null,
  ) {
    this.tokenizer = parts.tokenizer;
    this.#checkpoint = parts.checkpoint;
    this.#runtime = parts.runtime;
    this.#adapter = adapter;
  }

  /** Opens a model. Throws `weights/*`, `tokenizer/*`. */
  static async open(
    place: ModelPlace,
    adapter: Adapter | null = null,
    backend: Backend = 'fp32',
  ): Promise<Voice> {
    const checkpoint = await openModel(place);
    const tokenizer = await tokenizerOf(checkpoint);
    const runtime = await (backend === 'fp32' ? nodeRuntime : kernelRuntime)(checkpoint);
    return new Voice({ checkpoint, tokenizer, runtime }, adapter);
  }

  /** Streams one reply. */
  async *generate(
    messages: ChatMessage[],
    sampling: SamplingWithSeed,
    signal: AbortSignal = new AbortController().signal,
  ): AsyncGenerator<string, Generated> {
    this.#engine ??= this.#startEngine();
    const engine = await this.#engine;
    const request = { messages, samplings: [sampling] };
    const { tokens: promptTokens } = engine.prompt(request);
    const stream = engine.speak(request, signal);
    for (;;) {
      const step = await stream.next();
      if (step.done) return { promptTokens, ...step.value[0]! };
      yield step.value.text;
    }
  }

  /** What clients check after loading: the likeliest next tokens of one prompt. Throws `adapter/unfit`. */
  async golden(): Promise<Golden> {
    this.#engine ??= this.#startEngine();
    const engine = await this.#engine;
    const messages: ChatMessage[] = [{ role: 'user', content: GOLDEN_QUESTION }];
    const promptTokens = this.tokenizer.encodeChat(messages, { addGenerationPrompt: true });
    const top5 = Array.from(await engine.next(promptTokens), (logprob, id) => ({ id, logprob }))
      .sort((a, b) => b.logprob - a.logprob)
      .slice(0, 5);
    return { promptTokens, top5, tolerance: GOLDEN_TOLERANCE };
  }

  /** Scores the last message, an assistant's, given those before it. Throws `generation/too-long`. */
  async score(conversations: ChatMessage[][], reward?: RewardModel): Promise<Scored[]> {
    // Adapters made elsewhere may sit on any layer.
    const place = { fromLayer: 0 };
    const policy = new Policy(this.#checkpoint, this.#runtime, { place });
    try {
      const rows = await policy.withTrunk(conversations.map((messages) => this.#rowOf(messages)));
      const scores = await policy.score(rows, this.#adapter);
      const features =
        reward && this.#adapter ? await policy.statesAs(rows, featuresOf) : scores.map(featuresOf);
      return rows.map(({ reply }, i) => ({
        tokens: [...reply],
        logprobs: Array.from(scores[i]!.logprobs),
        ...(reward && { reward: rewardOf(reward, features[i]!) }),
      }));
    } finally {
      await policy.dispose();
    }
  }

  #rowOf(messages: ChatMessage[]) {
    const { tokenizer } = this;
    const prompt = tokenizer.encodeChat(messages.slice(0, -1), { addGenerationPrompt: true });
    const reply = [...tokenizer.encode(messages.at(-1)!.content), tokenizer.endOfTurn];
    const { context } = this.#checkpoint.config;
    if (prompt.length + reply.length > context) {
      throw new RapportError(
        'generation/too-long',
        `The conversation takes ${prompt.length + reply.length} tokens; the model reads ${context}.`,
        'Score a shorter conversation.',
      );
    }
    return { prompt, reply };
  }

  async #startEngine(): Promise<ChatEngine> {
    const { tokenizer } = this;
    const engine = await ChatEngine.create({
      checkpoint: this.#checkpoint,
      tokenizer,
      runtime: this.#runtime,
    });
    engine.setAdapter(this.#adapter);
    return engine;
  }
}

/** Reads an adapter folder in PEFT layout. Throws `adapter/unreadable`. */
export async function openAdapter(folder: string): Promise<Adapter> {
  try {
    const text = await readFile(join(folder, 'adapter_config.json'), 'utf8');
    const config = readPeftConfig(JSON.parse(text));
    return await readAdapter(join(folder, 'adapter_model.safetensors'), config);
  } catch (cause) {
    throw new RapportError(
      'adapter/unreadable',
      `${folder} holds no adapter that can be read: ${(cause as Error).message}.`,
      'Give a folder with adapter_config.json and adapter_model.safetensors.',
      { cause },
    );
  }
}
