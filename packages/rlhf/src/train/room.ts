// Judgements cut to what one run of a graph has room for: a conversation's latest turns, a reply's beginning, a
// ranking's neighbours. No model is needed to know them.
import type { ChatMessage, Judgement, Tokenizer } from '@rapport/core';
import type { Ranking } from './rankings.ts';
import { lengthOf } from './rows.ts';
import type { Row } from './rows.ts';

/** All in tokens. */
export interface Room {
  /** Of one run, padded. */
  readonly budgetTokens: number;
  /** Of a prompt and a reply to it together. */
  readonly longestRow: number;
  readonly longestPrompt: number;
}

/** The conversation without its oldest turns, so that it fits; a system message stays, and so does the last one. */
export function shortened<J extends Judgement>(
  judgement: J,
  { longestPrompt }: Room,
  tokenizer: Tokenizer,
): J {
  const fits = (prompt: ChatMessage[]) =>
    tokenizer.encodeChat(prompt, { addGenerationPrompt: true }).length <= longestPrompt;
  let { prompt } = judgement.body;
  while (prompt.length > 1 && !fits(prompt)) {
    const oldest = prompt[0]!.role === 'system' ? 1 : 0;
    if (oldest >= prompt.length - 1) break;
    prompt = prompt.toSpliced(oldest, 1);
  }
  return { ...judgement, body: { ...judgement.body, prompt } };
}

/** A row that there is room for: the prompt's end, the reply's beginning. */
export const cutTo =
  ({ longestPrompt, longestRow }: Room) =>
  <R extends Row>(row: R): R => {
    const prompt = row.prompt.slice(-longestPrompt);
    return { ...row, prompt, reply: row.reply.slice(0, longestRow - prompt.length) };
  };

/** A ranking cut, and where all replies together are too much for one run, taken apart. */
export function fitted(ranking: Ranking, room: Room): Ranking[] {
  const rows = ranking.replies.map((reply) => cutTo(room)({ prompt: ranking.prompt, reply }));
  const lengths = rows.map(lengthOf);
  return partsOf(lengths, ranking.ranks, room.budgetTokens).map((part) => ({
    prompt: rows[0]!.prompt,
    replies: part.map((i) => rows[i]!.reply),
    ranks: part.map((i) => ranking.ranks[i]!),
  }));
}

/**
 * Which replies to one prompt are learned from together: all of them, or, where that is too much for one run, pairs of
 * neighbours in rank. `lengths`: tokens of each row.
 */
export function partsOf(
  lengths: readonly number[],
  ranks: readonly number[],
  budgetTokens: number,
): number[][] {
  const all = lengths.map((_, i) => i);
  if (all.length <= 2 || Math.max(...lengths) * all.length <= budgetTokens) return [all];
  const order = all.toSorted((a, b) => ranks[a]! - ranks[b]!);
  return order
    .slice(1)
    .map((worse, k) => [order[k]!, worse])
    .filter(([better, worse]) => ranks[better!] !== ranks[worse!]);
}
