// Demonstrations as rows to learn from: instructions with answers, chats, prompts with completions. One row for each
// turn of the assistant; what is learned is that turn and its end, never what others said.
import { RapportError } from '@rapport/core';
import type { ChatMessage, Random, Tokenizer } from '@rapport/core';
import { documentRow } from './rows.ts';
import type { Row } from './rows.ts';

/** A line of a file of demonstrations: self-instruct's fields, or TRL's. */
export interface Demonstration {
  readonly instruction?: string;
  readonly input?: string;
  readonly output?: string;
  /** A chain of thought, written out before the answer. */
  readonly reasoning?: string;
  readonly messages?: readonly ChatMessage[];
  readonly prompt?: readonly ChatMessage[];
  readonly completion?: readonly ChatMessage[];
}

export interface RowOptions {
  /** Other demonstrations of one turn that go before each, as turns of the chat: 0 is a zero-shot prompt. */
  readonly shots?: number;
  /** Chooses the shots. */
  readonly random?: Random;
  /** Rows of more tokens are left out. */
  readonly longest?: number;
}

/**
 * The rows of demonstrations; lines without an answer give none.
 *
 * @throws RapportError `train/not-a-prefix` when the tokens of a prompt do not begin those of the prompt with its
 * reply: what the model learned would not be what it is asked.
 */
export function demonstrationRows(
  lines: readonly Demonstration[],
  tokenizer: Tokenizer,
  { shots = 0, random, longest = Infinity }: RowOptions = {},
): Row[] {
  const chats = lines.map(chatOf);
  const single = chats.filter((chat) => chat.filter(isReply).length === 1);
  return chats
    .flatMap((chat) => {
      const others = single.filter((other) => other !== chat);
      const drawn = shots > 0 && random ? random.shuffle(others).slice(0, shots) : [];
      const system = chat.filter(({ role }) => role === 'system');
      const before = [...system, ...drawn.flat().filter(({ role }) => role !== 'system')];
      const turns = chat.filter(({ role }) => role !== 'system');
      return turns.flatMap((turn, i) =>
        isReply(turn) ? [rowOf([...before, ...turns.slice(0, i + 1)], tokenizer)] : [],
      );
    })
    .filter(({ prompt, reply }) => prompt.length + reply.length <= longest);
}

/** Rows of ordinary text that are mixed in: more would only take longer to read. */
export const MOST_TEXT = 64;
/** Tokens of the longest answer, prompt included, that ordinary text is made of. */
const LONGEST_TEXT = 320;

/**
 * Demonstrations as ordinary text: two thirds, but at most `mixed`, are mixed in as documents, so that nothing is
 * forgotten; the others, as answers, are kept apart to measure that. Long ones are left out.
 */
export function ordinaryText(
  lines: readonly Demonstration[],
  tokenizer: Tokenizer,
  mixed = MOST_TEXT,
): { heldOutText: Row[]; text: Row[] } {
  const rows = demonstrationRows(lines, tokenizer, { longest: LONGEST_TEXT });
  const others = rows.filter((_, i) => i % 3 !== 0);
  const documents = others.flatMap((row) => {
    const document = documentRow(row.reply.slice(0, -1));
    return document ? [{ row, document }] : [];
  });
  const spare = documents.slice(mixed).map(({ row }) => row);
  return {
    heldOutText: [...rows.filter((_, i) => i % 3 === 0), ...spare],
    text: documents.slice(0, mixed).map(({ document }) => document),
  };
}

/** An instruction as it is put to the model. */
export const questionOf = ({ instruction = '', input }: Demonstration): string =>
  input ? `${instruction}\n\n${input}` : instruction;

const isReply = ({ role }: ChatMessage) => role === 'assistant';

function chatOf(line: Demonstration): readonly ChatMessage[] {
  if (line.messages) return line.messages;
  if (line.prompt) return [...line.prompt, ...(line.completion ?? [])];
  if (!line.output) return [];
  const { reasoning, output } = line;
  return [
    { role: 'user', content: questionOf(line) },
    { role: 'assistant', content: reasoning ? `${reasoning}\n\n${output}` : output },
  ];
}

/** The last message as the reply to those before it, with its end of turn. */
function rowOf(chat: readonly ChatMessage[], tokenizer: Tokenizer): Row {
  const prompt = tokenizer.encodeChat(chat.slice(0, -1), { addGenerationPrompt: true });
  const whole = tokenizer.encodeChat([...chat], { addGenerationPrompt: false });
  const end = whole.indexOf(tokenizer.endOfTurn, prompt.length);
  if (end < 0 || prompt.some((id, t) => whole[t] !== id)) {
    throw new RapportError(
      'train/not-a-prefix',
      `The prompt's tokens do not begin those of the whole chat: "${chat.at(-1)!.content.slice(0, 40)}".`,
      'Remove blank space from the beginning of the reply, or use a chat template that keeps earlier turns.',
    );
  }
  return { prompt, reply: whole.slice(prompt.length, end + 1) };
}
