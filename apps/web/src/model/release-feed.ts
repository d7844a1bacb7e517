// The server's signed documents, fetched and verified.
import { RapportError } from '@rapport/core';
import type { ChannelFacts } from './release-rules.ts';
import type { ReleaseFacts, ReleaseFeed } from './releases.svelte.ts';

export class ServerFeed implements ReleaseFeed {
  channel(): Promise<ChannelFacts> {
    return Promise.reject(notYet());
  }
  release(_id: string): Promise<ReleaseFacts> {
    return Promise.reject(notYet());
  }
  bucket(_salt: string): Promise<number> {
    return Promise.reject(notYet());
  }
}

const notYet = () => new RapportError('releases/none', 'No channel yet.', 'Wait.');
