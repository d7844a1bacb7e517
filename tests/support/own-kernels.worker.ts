// Chats greedily on our own kernels in a worker, as the page does: helper threads block, which a page may not.
import { blobSource, buildTokenizer, ChatEngine, openGguf, type SimdRuntime } from '@rapport/core';
import { openOnBackend } from '../../apps/web/src/workers/backend.ts';
import type { BackendChoice } from '../../apps/web/src/workers/inference.ts';
import { answerWith } from './asking.ts';
import { CountedLookup } from './counted-lookup.ts';

export interface Chat {
  choice: BackendChoice;
  prompts: readonly { prompt: string; maxTokens: number }[];
  /** Whether what a reply says next is guessed; by default it is. */
  guessing?: boolean;
  /** As in a browser that does not know relaxed SIMD. */
  withoutRelaxedSimd?: boolean;
}

export interface Chatted {
  name: string;
  reason: string;
  threads: number;
  /** To how many bits activations are rounded. */
  activationBits: number;
  memoryBytes: number;
  /** Tokens that were guessed right. */
  guessed: number;
  replies: { tokens: number[]; logprobs: number[] }[];
}

async function chat({ choice, prompts, guessing = true, withoutRelaxedSimd }: Chat) {
  if (withoutRelaxedSimd) refuseRelaxedSimd();
  const checkpoint = await openGguf(blobSource(await (await fetch('/model.gguf')).blob()));
  const tokenizer = await buildTokenizer(checkpoint.tokenizer);
  const lookup = new CountedLookup();
  const { backend, reason, opened } = await openOnBackend({ choice, checkpoint }, (runtime) =>
    ChatEngine.create({ checkpoint, tokenizer, runtime, lookup: guessing ? lookup : null }),
  );
  const { runtime, name, threads } = backend;
  const replies: Chatted['replies'] = [];
  for (const { prompt, maxTokens } of prompts) {
    const greedy = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };
    const stream = opened.speak(
      { messages: [{ role: 'user', content: prompt }], samplings: [{ ...greedy, maxTokens }] },
      new AbortController().signal,
    );
    let step = await stream.next();
    while (!step.done) step = await stream.next();
    const { tokens, logprobs } = step.value[0]!;
    replies.push({ tokens, logprobs });
  }
  const { sizeBytes = 0, activationBits = 32 } = runtime as Partial<SimdRuntime>;
  return {
    ...{ name, reason, threads, activationBits, memoryBytes: sizeBytes },
    ...{ guessed: lookup.right, replies },
  } satisfies Chatted;
}

function refuseRelaxedSimd(): void {
  const { compileStreaming } = WebAssembly;
  WebAssembly.compileStreaming = async (source) => {
    const response = await source;
    if (!response.url.includes('relaxed')) return compileStreaming(response);
    throw new WebAssembly.CompileError('invalid SIMD opcode');
  };
}

answerWith(chat);
