// The open model: how its files become an engine, and how it speaks.
import { RapportError } from '@rapport/core';
import type {
  AdapterFiles,
  BackendChoice,
  Golden,
  ModelManifest,
  OpenedModel,
  SpeakRequest,
  SpokenReply,
  SpokenToken,
} from './inference.ts';

export class Speaker {
  async open(_m: ModelManifest, _f: Map<string, File>, _b: BackendChoice): Promise<OpenedModel> {
    throw new RapportError('model/not-yet', 'The engine has not landed.', 'Wait for it.');
  }

  async *speak(_r: SpeakRequest, _s: AbortSignal): AsyncGenerator<SpokenToken, SpokenReply[]> {
    throw new RapportError('model/not-yet', 'The engine has not landed.', 'Wait for it.');
  }
  useAdapter(_files: AdapterFiles | null): void {}
  async checkGolden(_golden: Golden): Promise<number> {
    return 0;
  }
}
