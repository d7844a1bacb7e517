// Judgements as the token ids that training reads: rankings, and single thumbs for KTO. Votes become a
// ranking where one prompt got both thumbs; an edit ranks the person's text above the reply.
import type { ChatMessage, Provenance, Tokenizer } from '@rapport/core';
import type { Thumb } from '@rapport/rlhf';
import type { DatasetRow } from '../store/datasets.ts';

/** Replies of one prompt in order; `ranks`: 1 is best, equal numbers are ties. */
export interface TokenRanking {
  prompt: number[];
  replies: number[][];
  ranks: number[];
}

interface Judged {
  prompt: ChatMessage[];
  replies: { text: string; provenance?: Provenance }[];
  ranks: number[];
}

/** Rankings of all rows that prefer anything to anything. */
export function rankingsOf(rows: readonly DatasetRow[], tokenizer: Tokenizer): TokenRanking[] {
  const judged = rows.flatMap((row) => judgedOf(row));
  return [...judged, ...votedOn(rows)]
    .filter(({ ranks }) => ranks.some((rank) => rank !== ranks[0]))
    .map(({ prompt, replies, ranks }) => ({
      prompt: tokenizer.encodeChat(prompt, { addGenerationPrompt: true }),
      replies: replies.map((reply) => tokensOf(reply, tokenizer)),
      ranks,
    }));
}

/** Every vote as a thumb of its own. */
export function thumbsOf(rows: readonly DatasetRow[], tokenizer: Tokenizer): Thumb[] {
  return rows.flatMap(({ type, body }) =>
    type === 'vote'
      ? [
          {
            prompt: tokenizer.encodeChat(body.prompt, { addGenerationPrompt: true }),
            reply: tokensOf(body.reply, tokenizer),
            good: body.value > 0,
          },
        ]
      : [],
  );
}

function judgedOf({ type, body }: DatasetRow): Judged[] {
  if (type === 'ranking') return [body];
  if (type === 'edit')
    return [{ prompt: body.prompt, replies: [{ text: body.text }, body.reply], ranks: [1, 2] }];
  return [];
}

function votedOn(rows: readonly DatasetRow[]): Judged[] {
  const groups = new Map<string, Judged>();
  for (const { type, body } of rows) {
    if (type !== 'vote') continue;
    const key = JSON.stringify(body.prompt);
    const group = groups.get(key) ?? { prompt: body.prompt, replies: [], ranks: [] };
    group.replies.push(body.reply);
    group.ranks.push(body.value > 0 ? 1 : 2);
    groups.set(key, group);
  }
  return [...groups.values()];
}

/**
 * The ids the model sampled, when they really spell the text that was judged, else the text's own;
 * with the end-of-turn token unless the reply was cut at its limit.
 */
function tokensOf({ text, provenance }: Judged['replies'][number], tokenizer: Tokenizer): number[] {
  const { endOfTurn, vocabSize } = tokenizer;
  const sampled = provenance?.tokens.filter((id) => id !== endOfTurn) ?? [];
  const spelt =
    sampled.length > 0 &&
    sampled.every((id) => id < vocabSize) &&
    tokenizer.decode(sampled, { skipSpecial: true }).trim() === text.trim();
  if (!spelt) return [...tokenizer.encode(text), endOfTurn];
  const cut = sampled.length >= provenance!.sampling.maxTokens;
  return cut ? sampled : [...sampled, endOfTurn];
}
