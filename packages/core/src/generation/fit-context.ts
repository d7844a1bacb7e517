// Which part of a conversation the model reads when it is longer than its context: the system message and
// the newest turns. A turn is a person's message with what was answered to it.
import { RapportError } from '../error.ts';
import type { ChatMessage, Tokenizer } from '../tokenizer/tokenizer.ts';

export interface Prompt {
  tokens: number[];
  /** Turns at the start of the conversation that are not in `tokens`. */
  droppedTurns: number;
}

/** Room is made in steps of this share of the context, so that most replies find their past read already. */
const STEP = 1 / 4;

/**
 * The prompt for `messages` with room for a reply of `replyTokens` after it, or for a quarter of the
 * context where that is less. Whole turns are dropped, the oldest first.
 *
 * @throws RapportError `generation/too-long` when the system message and the last turn alone do not fit.
 */
export function fitContext(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  { context, replyTokens }: { context: number; replyTokens: number },
): Prompt {
  const promptOf = (droppedTurns: number): Prompt => ({
    tokens: tokenizer.encodeChat(withoutTurns(messages, droppedTurns), {
      addGenerationPrompt: true,
    }),
    droppedTurns,
  });
  const whole = promptOf(0);
  const step = Math.max(1, Math.floor(context * STEP));
  const limit = context - Math.min(replyTokens, step);
  const excess = whole.tokens.length - limit;
  if (excess <= 0) return whole;
  const wanted = whole.tokens.length - Math.ceil(excess / step) * step;
  const prompt = fewestDropped(promptOf, turnsIn(messages) - 1, wanted);
  // The last turn may take more than its share, as long as there is room for something to be said.
  if (prompt.tokens.length < context) return prompt;
  throw tooLong(prompt.tokens.length, context);
}

/** The longest prompt of at most `wanted` tokens; with `most` turns dropped when none is. */
function fewestDropped(
  promptOf: (dropped: number) => Prompt,
  most: number,
  wanted: number,
): Prompt {
  let [low, high] = [0, Math.max(0, most)];
  let best = promptOf(high);
  while (low < high) {
    const middle = (low + high) >> 1;
    const prompt = promptOf(middle);
    if (prompt.tokens.length > wanted) {
      low = middle + 1;
      continue;
    }
    [high, best] = [middle, prompt];
  }
  return best;
}

const turnsIn = (messages: readonly ChatMessage[]): number =>
  messages.filter(({ role }) => role === 'user').length;

/** The conversation from its turn `count` on, after the system message. */
function withoutTurns(messages: readonly ChatMessage[], count: number): ChatMessage[] {
  if (count === 0) return [...messages];
  const starts = messages.flatMap(({ role }, i) => (role === 'user' ? [i] : []));
  const system = messages[0]!.role === 'system' ? messages.slice(0, 1) : [];
  return [...system, ...messages.slice(starts[count])];
}

const tooLong = (found: number, context: number) =>
  new RapportError(
    'generation/too-long',
    `The message takes ${found} tokens with what comes before it; the model reads fewer than ${context}.`,
    'Shorten the message or the system prompt.',
  );
