// What may be asked of a speaker, and what it gives back, as plain data.
import type { ChatMessage } from '../tokenizer/tokenizer.ts';

export interface SamplingWithSeed {
  /** 0 takes the likeliest token. */
  temperature: number;
  /** 0 keeps all. */
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  maxTokens: number;
  seed: number;
  /** Texts at which the reply ends; none of them is part of it. */
  stop?: readonly string[] | undefined;
}

export interface SpeakRequest {
  messages: ChatMessage[];
  /** One per reply: several settings make alternates of one prompt in one batch. */
  samplings: SamplingWithSeed[];
  /** Token ids of a reply that was cut off: the new tokens go on from there. */
  prefix?: number[] | undefined;
}

export interface SpokenToken {
  /** Which of the replies made together. */
  index: number;
  id: number;
  /** Natural log of its share under the temperature-scaled softmax, before anything is cut off. */
  logprob: number;
  text: string;
}

export interface SpokenReply {
  /** With the token that ended it when it ended by itself; up to the stop sequence when one ended it. */
  tokens: number[];
  logprobs: number[];
  text: string;
  finishReason: 'stop' | 'length' | 'cancelled';
  /** Turns at the start of the conversation that did not fit the context and were not read. */
  droppedTurns?: number;
  timing: { prefillMs: number; decodeMs: number; tokensPerSecond: number };
}
