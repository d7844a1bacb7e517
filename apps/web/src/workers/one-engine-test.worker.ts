// An engine for tests: counts slowly in place of speaking, over the real channels and locks of the browser.
import type { SpokenReply, SpokenToken } from '@rapport/core';
import { Desk } from './desk.ts';
import type { EngineNews, OpenedModel } from './inference.ts';
import { ownDoors, receiveTabs, type Files } from './reception.ts';

const timing = { prefillMs: 1, decodeMs: 1, tokensPerSecond: 1 };
const say = (message: EngineNews) => postMessage(message);

const desk = new Desk({
  speaker: {
    use: () => undefined,
    checkGolden: async () => 0,
    async *speak({ samplings, prefix = [] }, signal): AsyncGenerator<SpokenToken, SpokenReply[]> {
      const tokens: number[] = [];
      for (let i = 0; i < samplings[0]!.maxTokens && !signal.aborted; i++) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        const id = prefix.length + i;
        tokens.push(id);
        yield { index: 0, id, logprob: -id, text: `${id} ` };
      }
      return [{ tokens, logprobs: [], text: '', finishReason: 'length', timing }];
    },
  },
  open: async ({ backend }) => ({ backend: `${backend} in ${self.name}` }) as OpenedModel,
  read: () => Promise.reject(new Error('There are no adapters here.')),
  replace: (request) => say({ kind: 'replace', request }),
});

receiveTabs(desk, {} as Files, ownDoors());
say({ kind: 'listening' });
