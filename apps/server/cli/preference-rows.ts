// Preferences as files hold them, as the token ids that a reward model reads: hh-rlhf's two dialogues, TRL's
// messages, our rankings. Knows no model beyond its tokenizer.
import { RapportError, type ChatMessage, type Tokenizer } from '@rapport/core';
import type { AnnotatedRanking } from '@rapport/rlhf';

/** What a small model can read at once: the end of the prompt, the beginning of a reply. */
const PROMPT_TOKENS = 384;
const REPLY_TOKENS = 256;

/** One line: hh-rlhf's texts, TRL's `prompt`, `chosen`, `rejected`, or a prompt with replies and ranks. */
export interface PreferenceRow {
  prompt?: ChatMessage[];
  chosen?: string | { content: string }[];
  rejected?: string | { content: string }[];
  replies?: { text: string }[];
  /** 1 is best; equal numbers are ties. */
  ranks?: number[];
  /** Who judged. */
  annotator?: string;
}

/** The rows as rankings; hh-rlhf pairs whose prompts differ are left out. Throws `evaluate/bad-row`. */
export function rankingsOfRows(
  rows: readonly PreferenceRow[],
  tokenizer: Tokenizer,
): AnnotatedRanking[] {
  return rows.flatMap((row) => {
    const ranking = textsOf(row);
    if (!ranking) return [];
    return [
      {
        prompt: asked(ranking.prompt, tokenizer),
        replies: ranking.replies.map((text) => replied(text, tokenizer)),
        ranks: ranking.ranks,
        annotator: row.annotator,
      },
    ];
  });
}

/** The prompt's tokens up to the reply. */
export const asked = (messages: readonly ChatMessage[], tokenizer: Tokenizer): number[] =>
  tokenizer.encodeChat([...messages], { addGenerationPrompt: true }).slice(-PROMPT_TOKENS);

function replied(text: string, tokenizer: Tokenizer): number[] {
  const tokens = [...tokenizer.encode(text), tokenizer.endOfTurn];
  return tokens.slice(0, REPLY_TOKENS);
}

interface Texts {
  prompt: ChatMessage[];
  replies: string[];
  ranks: number[];
}

function textsOf({ prompt, chosen, rejected, replies, ranks }: PreferenceRow): Texts | undefined {
  if (prompt && replies && ranks?.length === replies.length) {
    return { prompt, replies: replies.map(({ text }) => text), ranks };
  }
  if (typeof chosen === 'string' && typeof rejected === 'string') {
    const [good, bad] = [splitDialogue(chosen), splitDialogue(rejected)];
    if (good.prompt !== bad.prompt) return undefined;
    return { prompt: messagesOf(good.prompt), replies: [good.reply, bad.reply], ranks: [1, 2] };
  }
  if (prompt && Array.isArray(chosen) && Array.isArray(rejected)) {
    const [good, bad] = [chosen.at(-1), rejected.at(-1)];
    if (good && bad) return { prompt, replies: [good.content, bad.content], ranks: [1, 2] };
  }
  throw new RapportError(
    'evaluate/bad-row',
    'A row is neither an hh-rlhf pair, a TRL preference row nor a ranking.',
    'Give {chosen, rejected} texts, {prompt, chosen, rejected} messages, or {prompt, replies, ranks}.',
  );
}

const ASSISTANT = '\n\nAssistant:';

/** hh-rlhf is split at the last turn of the assistant. */
function splitDialogue(text: string): { prompt: string; reply: string } {
  const at = text.lastIndexOf(ASSISTANT);
  return { prompt: text.slice(0, at), reply: text.slice(at + ASSISTANT.length).trim() };
}

function messagesOf(dialogue: string): ChatMessage[] {
  return dialogue
    .split(/\n\n(?=Human:|Assistant:)/)
    .filter((turn) => turn.trim() !== '')
    .map((turn) => ({
      role: turn.startsWith('Assistant:') ? ('assistant' as const) : ('user' as const),
      content: turn.replace(/^(?:Human|Assistant):/, '').trim(),
    }));
}
