// A reply that is spoken to its end although the engine goes away: another goes on from the tokens that were said, with
// the random numbers that come next. It knows engines only as a call that may have to be made again.
import type { SamplingWithSeed, SpeakRequest, SpokenReply, SpokenToken } from '@rapport/core';

type Speak = (request: SpeakRequest) => AsyncGenerator<SpokenToken, SpokenReply[]>;

interface Around {
  /** One try, on the engine of now. */
  speak: Speak;
  /** Whether an error means that the engine has gone, and another can be asked. */
  gone: (error: unknown) => boolean;
  signal: AbortSignal | undefined;
}

type Said = Pick<SpokenReply, 'tokens' | 'logprobs' | 'text'>;

/** Speaks as one engine would that never goes. Alternates that were cut off go on one after the other. */
export async function* speakOn(
  request: SpeakRequest,
  around: Around,
): AsyncGenerator<SpokenToken, SpokenReply[]> {
  const said = request.samplings.map((): Said => ({ tokens: [], logprobs: [], text: '' }));
  try {
    return yield* noting(around.speak(request), said);
  } catch (error) {
    if (!around.gone(error)) throw error;
  }
  const replies: SpokenReply[] = [];
  for (const [index, sampling] of request.samplings.entries()) {
    replies.push(yield* rest(request, sampling, { index, said: said[index]! }, around));
  }
  return replies;
}

/** What is left of one of the replies. */
async function* rest(
  { messages, prefix = [] }: SpeakRequest,
  sampling: SamplingWithSeed,
  { index, said }: { index: number; said: Said },
  { speak, gone, signal }: Around,
): AsyncGenerator<SpokenToken, SpokenReply> {
  while (!signal?.aborted) {
    const maxTokens = sampling.maxTokens - said.tokens.length;
    const request = {
      messages,
      samplings: [{ ...sampling, maxTokens }],
      prefix: [...prefix, ...said.tokens],
    };
    try {
      const [reply] = yield* noting(speak(request), [said], index);
      return { ...reply!, ...said };
    } catch (error) {
      if (!gone(error)) throw error;
    }
  }
  const timing = { prefillMs: 0, decodeMs: 0, tokensPerSecond: 0 };
  return { ...said, finishReason: 'cancelled', timing };
}

/** The same, noted in `said` and numbered from `first` on. */
async function* noting<R>(
  run: AsyncGenerator<SpokenToken, R>,
  said: Said[],
  first = 0,
): AsyncGenerator<SpokenToken, R> {
  try {
    let step = await run.next();
    for (; !step.done; step = await run.next()) {
      const { index, id, logprob, text } = step.value;
      const reply = said[index]!;
      reply.tokens.push(id);
      reply.logprobs.push(logprob);
      reply.text += text;
      yield { ...step.value, index: first + index };
    }
    return step.value;
  } finally {
    await run.return(undefined as never);
  }
}
