// Reading in pieces and decoding one by one, reading all at once, and one scoring pass are the same model.
import * as ort from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { ortRuntime, type ChatMessage } from '@rapport/core';
import { realCheckpoint } from '../support/checkpoint.ts';
import { nodeRuntime } from '../support/node-runtime.ts';
import { furthest, logprobsOfPasses } from '../support/passes.ts';
import { tinyCheckpoint, tinyNames } from '../support/tiny.ts';

const TOLERANCE = 1e-4;
const user = (content: string): ChatMessage => ({ role: 'user', content });

describe('prefill in pieces, decode one by one and a single scoring pass agree', () => {
  it.each(tinyNames)('on %s', async (name) => {
    const passes = await logprobsOfPasses(await tinyCheckpoint(name), ortRuntime(ort), {
      messages: [user('abcdefghi'), { role: 'assistant', content: 'jkl' }, user('mno')],
      readAtOnce: 5,
      maxTokens: 12,
    });
    expect(passes.promptLength).toBeGreaterThan(15);
    expect(furthest(passes.decoded, passes.atOnce)).toBeLessThan(TOLERANCE);
    expect(furthest(passes.decoded, passes.scored)).toBeLessThan(TOLERANCE);
  });

  it('on the real model, over a prompt of three pieces and more', async () => {
    const checkpoint = await realCheckpoint();
    const story = 'The lighthouse keeper wrote down every ship that passed, with its 3 colours. ';
    const passes = await logprobsOfPasses(checkpoint, await nodeRuntime(checkpoint), {
      messages: [user(`${story.repeat(8)}What did the keeper do?`)],
      readAtOnce: 60,
      maxTokens: 6,
    });
    expect(passes.promptLength).toBeGreaterThan(120);
    expect(furthest(passes.decoded, passes.atOnce)).toBeLessThan(TOLERANCE);
    expect(furthest(passes.decoded, passes.scored)).toBeLessThan(TOLERANCE);
  });
});
