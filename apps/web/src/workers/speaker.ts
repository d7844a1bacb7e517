// The open model: how its files become an engine, and how it speaks.
import { buildTokenizer, RapportError, type Golden } from '@rapport/core';
import type {
  AdapterRef,
  BackendChoice,
  ModelManifest,
  OpenedModel,
  SpeakRequest,
  SpokenReply,
  SpokenToken,
} from './inference.ts';
import { openCheckpoint } from './open-checkpoint.ts';

export class Speaker {
  async open(
    manifest: ModelManifest,
    files: Map<string, File>,
    _b: BackendChoice,
  ): Promise<OpenedModel> {
    const checkpoint = await openCheckpoint(manifest, files);
    const tokenizer = await buildTokenizer(checkpoint.tokenizer);
    console.log(
      tokenizer.encodeChat([{ role: 'user', content: 'Hi' }], { addGenerationPrompt: true }).join(),
    );
    throw new RapportError('model/not-yet', 'The engine has not landed.', 'Wait for it.');
  }
  async *speak(_r: SpeakRequest, _s: AbortSignal): AsyncGenerator<SpokenToken, SpokenReply[]> {
    throw new RapportError('model/not-yet', 'The engine has not landed.', 'Wait for it.');
  }
  async useAdapter(_adapter: (AdapterRef & { blob: Blob }) | null): Promise<void> {}
  async checkGolden(_golden: Golden): Promise<number> {
    return 0;
  }
}
