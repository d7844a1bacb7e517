// Reads answers with our own kernels as the page starts them, and with ONNX Runtime in fp32: how close are they?
import { blobSource, buildTokenizer, openGguf } from '@rapport/core';
import { startBackend } from '../../apps/web/src/workers/backend.ts';
import { answerWith } from './asking.ts';
import { closenessOnAnswers, type Closeness } from './closeness.ts';

/** `demonstrations`: lines of JSON, of which the first `count` are read. */
export interface Reading {
  demonstrations: string;
  count: number;
}

answerWith(async ({ demonstrations, count }: Reading): Promise<Closeness> => {
  const checkpoint = await openGguf(blobSource(await (await fetch('/model.gguf')).blob()));
  const tokenizer = await buildTokenizer(checkpoint.tokenizer);
  const [exact, own] = [await startBackend('wasm'), await startBackend('simd', checkpoint)];
  return closenessOnAnswers({
    ...{ checkpoint, tokenizer, exact: exact.runtime, other: own.runtime },
    ...{ demonstrations, count },
  });
});
