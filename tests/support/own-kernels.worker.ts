// Chats greedily on our own kernels in a worker, as the page does: helper threads block, which a page may not.
import { blobSource, buildTokenizer, ChatEngine, openGguf } from '@rapport/core';
import { openOnBackend } from '../../apps/web/src/workers/backend.ts';
import type { BackendChoice } from '../../apps/web/src/workers/inference.ts';

// Vitest rewrites dynamic imports for its page; a worker has to provide what they call.
Object.assign(globalThis, {
  __vitest_browser_runner__: { wrapDynamicImport: (load: () => unknown) => load() },
});

export interface Chatted {
  name: string;
  reason: string;
  threads: number;
  verdict: unknown;
  loadMs: number;
  memoryBytes: number;
  replies: { tokens: number[]; logprobs: number[]; tokensPerSecond: number }[];
}

async function chat(choice: BackendChoice, prompts: { prompt: string; maxTokens: number }[]) {
  const fromMs = performance.now();
  const checkpoint = await openGguf(blobSource(await (await fetch('/model.gguf')).blob()));
  const tokenizer = await buildTokenizer(checkpoint.tokenizer);
  const { backend, reason, verdict, opened } = await openOnBackend(
    { choice, checkpoint },
    (runtime) => ChatEngine.create({ checkpoint, tokenizer, runtime }),
  );
  const { runtime, name, threads } = backend;
  const loadMs = performance.now() - fromMs;
  const replies: Chatted['replies'] = [];
  for (const { prompt, maxTokens } of prompts) {
    const greedy = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };
    const stream = opened.speak(
      { messages: [{ role: 'user', content: prompt }], samplings: [{ ...greedy, maxTokens }] },
      new AbortController().signal,
    );
    let step = await stream.next();
    while (!step.done) step = await stream.next();
    const { tokens, logprobs, timing } = step.value[0]!;
    replies.push({ tokens, logprobs, tokensPerSecond: timing.tokensPerSecond });
  }
  const memoryBytes = (runtime as { sizeBytes?: number }).sizeBytes ?? 0;
  return { name, reason, threads, verdict, loadMs, memoryBytes, replies } satisfies Chatted;
}

self.onmessage = ({ data: { choice, prompts } }) =>
  void chat(choice, prompts).then(
    (chatted) => postMessage(chatted),
    (error: Error) => postMessage({ error: `${error.name}: ${error.message}` }),
  );
