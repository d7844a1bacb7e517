// The open model: how its files become an engine, how it speaks, and how a release is tried.
import {
  type Adapter,
  buildTokenizer,
  ChatEngine,
  type Golden,
  joinAdapters,
  RapportError,
  type SpeakRequest,
  type SpokenReply,
  type SpokenToken,
} from '@rapport/core';
import { openOnBackend } from './backend.ts';
import { cacheRoom } from './cache-room.ts';
import type { OpenedModel, OpenRequest } from './inference.ts';
import { openCheckpoint } from './open-checkpoint.ts';

/** What speaks with the base, together; null is nothing. */
export interface Voice {
  release: Adapter | null;
  personal: Adapter | null;
}

export class Speaker {
  #engine: ChatEngine | undefined;
  #voice: Voice = { release: null, personal: null };

  async open(
    { manifest, backend: choice, verdict, afterCrash, deviceLost }: OpenRequest,
    files: ReadonlyMap<string, File>,
  ): Promise<OpenedModel> {
    const startedMs = performance.now();
    const { tokenizer: spec, ...checkpoint } = await openCheckpoint(manifest, files);
    const tokenizer = await buildTokenizer(spec);
    const on = await openOnBackend(
      { choice, checkpoint, verdict, afterCrash, deviceLost },
      (runtime, small) => {
        const { deviceMemory } = navigator as { deviceMemory?: number };
        const room = cacheRoom(deviceMemory, small, runtime.memory?.dtype);
        return ChatEngine.create({ checkpoint, tokenizer, runtime, ...room });
      },
    );
    this.#engine = on.opened;
    this.#voice = { release: null, personal: null };
    return {
      backend: on.backend.name,
      reason: on.reason,
      threads: on.backend.threads,
      verdict: on.verdict,
      contextLength: on.opened.contextLength,
      loadMs: performance.now() - startedMs,
    };
  }

  speak(request: SpeakRequest, signal: AbortSignal): AsyncGenerator<SpokenToken, SpokenReply[]> {
    return this.#opened().speak(request, signal);
  }

  /** Speaks with this voice from the next reply on. Throws `adapter/unfit`. */
  use({ release, personal }: Voice): void {
    const engine = this.#opened();
    const now = this.#voice;
    if (release === now.release && personal === now.personal) return;
    engine.setAdapter(joinAdapters(release, personal));
    this.#voice = { release, personal };
  }

  /** The largest difference of log-probs met. Throws `model/golden-failed` above the tolerance. */
  async checkGolden({ promptTokens, top5, tolerance }: Golden): Promise<number> {
    const logprobs = await this.#opened().next(promptTokens);
    const gaps = top5.map(({ id, logprob }) => Math.abs(logprobs[id]! - logprob));
    const worst = Math.max(...gaps);
    if (worst <= tolerance) return worst;
    throw new RapportError(
      'model/golden-failed',
      `The release answers its test prompt with log-probs off by ${worst.toFixed(3)}.`,
      'The release before it is used instead.',
    );
  }

  #opened(): ChatEngine {
    if (this.#engine) return this.#engine;
    throw new RapportError('model/closed', 'The model is not open.', 'Wait until it is ready.');
  }
}
